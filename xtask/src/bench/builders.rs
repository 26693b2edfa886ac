//! The builders: how each is emptied, asked to build, and asked for what it made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::measure::pids_below;
use super::options::{Custom, Options};
use super::registry::Registry;
use crate::castoff::Castoff;
use crate::ci;
use crate::command::capture;
use crate::peers::{Docker, World, buildah};

/// A builder with a store of its own.
pub(super) struct Builder<'w> {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: Kind<'w>,
    world: &'w World,
    registry: &'w Registry,
}

pub(super) enum Kind<'w> {
    Castoff(Castoff),
    Buildah,
    Classic(&'w Docker),
    BuildKit(&'w Docker),
    Custom(Custom),
}

/// What is asked of a builder.
#[derive(Debug, Clone)]
pub(super) struct Build {
    pub(super) dockerfile: PathBuf,
    pub(super) context: PathBuf,
    pub(super) tag: String,
    pub(super) output: Output,
    /// A file with a secret that castoff is to look for in the result.
    pub(super) secret: Option<PathBuf>,
}

/// Where an image goes besides the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Store,
    /// An archive at a path, as the builder writes it by default.
    Archive(PathBuf),
    /// The registry, under the tag.
    Push,
    /// The registry, with what is cached, under a reference.
    PushCache(String),
    /// The store, with what is cached at a reference.
    FromCache(String),
}

/// Name of castoff in all tables.
pub(super) const CASTOFF: &str = "castoff";
/// Name of castoff as an ordinary user.
pub(super) const ROOTLESS: &str = "castoff-rootless";
/// Name of the peer that most targets are about.
pub(super) const BUILDKIT: &str = "docker-buildkit";

/// Starts every builder that takes part; castoff first.
pub(super) fn all<'w>(
    options: &Options,
    world: &'w World,
    docker: Option<&'w Docker>,
    registry: &'w Registry,
) -> Result<Vec<Builder<'w>>> {
    let castoff = Castoff::release_at(&world.directory.join("castoff"), None)?;
    let version = capture(castoff.command().arg("--version"))?.trim().replace("castoff ", "");
    let mut builders = Vec::new();
    let mut add = |name: &str, version: &str, kind| {
        let (name, version) = (name.to_owned(), version.to_owned());
        builders.push(Builder { name, version, kind, world, registry });
    };
    add(CASTOFF, &version, Kind::Castoff(castoff));
    if options.has(ROOTLESS) {
        ci::user()?;
        let directory = world.directory.join("castoff-rootless");
        let castoff = Castoff::release_at(&directory, Some(ci::USER.to_owned()))?;
        add(ROOTLESS, &version, Kind::Castoff(castoff));
    }
    if options.has("buildah") {
        buildah::prepare(world)?;
        add("buildah", &world.version("buildah")?, Kind::Buildah);
    }
    if let Some(docker) = docker {
        let version = world.version("docker")?;
        if options.has("docker-classic") {
            add("docker-classic", &version, Kind::Classic(docker));
        }
        if options.has(BUILDKIT) {
            add(BUILDKIT, &version, Kind::BuildKit(docker));
        }
    }
    for custom in &options.custom {
        add(&custom.name, "as given", Kind::Custom(custom.clone()));
    }
    Ok(builders)
}

impl Builder<'_> {
    /// Whether it is what all others are compared with.
    pub(super) fn is_castoff(&self) -> bool {
        self.name == CASTOFF
    }

    /// Whether it takes part only where a row asks for it.
    pub(super) fn is_rootless(&self) -> bool {
        self.name == ROOTLESS
    }

    /// Whether it is asked for more than to build.
    pub(super) fn is_known(&self) -> bool {
        !matches!(&self.kind, Kind::Custom(_))
    }

    /// Whether the store can be emptied.
    pub(super) fn can_reset(&self) -> bool {
        !matches!(&self.kind, Kind::Custom(Custom { reset: None, .. }))
    }

    /// Empties the store, but for the named images of the registry, which a step has run on already.
    pub(super) fn reset(&self, bases: &[&str]) -> Result<()> {
        let references: Vec<String> = bases.iter().map(|base| self.registry.reference(base)).collect();
        match &self.kind {
            Kind::Castoff(castoff) => {
                remove(&castoff.root())?;
                for reference in &references {
                    castoff.pull(reference)?;
                }
            }
            Kind::Buildah => {
                remove(&self.world.directory.join("buildah/root"))?;
                remove(&self.world.directory.join("buildah/run"))?;
                for reference in &references {
                    let mut pull = buildah::command(self.world);
                    capture(pull.args(["pull", "--quiet", "--tls-verify=false", reference]))?;
                }
            }
            Kind::Classic(docker) | Kind::BuildKit(docker) => {
                let ask = |arguments: &[&str]| capture(docker.command(self.world).args(arguments));
                let listing = ask(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])?;
                for tag in listing.lines().filter(|tag| !references.iter().any(|kept| kept == tag)) {
                    if !tag.contains("<none>") {
                        ask(&["image", "rm", "--force", tag])?;
                    }
                }
                ask(&["image", "prune", "--force"])?;
                ask(&["builder", "prune", "--all", "--force"])?;
                for reference in references.iter().filter(|reference| !listing.contains(*reference)) {
                    ask(&["pull", "--quiet", reference])?;
                }
            }
            Kind::Custom(custom) => {
                let reset = custom.reset.as_deref().context("there is no `--reset` for it")?;
                capture(&mut template(reset, &[]))?;
            }
        }
        self.warm(&references)
    }

    /// Runs a step on each base, so that what is prepared once per base is not measured.
    fn warm(&self, references: &[String]) -> Result<()> {
        for reference in references {
            let place = self.world.directory.join("warm");
            std::fs::create_dir_all(place.join("context"))?;
            let dockerfile = place.join("Dockerfile");
            std::fs::write(&dockerfile, format!("FROM {reference}\nRUN :\n"))?;
            let context = place.join("context");
            let build =
                Build { dockerfile, context, tag: "warm".to_owned(), output: Output::Store, secret: None };
            for mut command in self.commands(&build)? {
                capture(&mut command)?;
            }
        }
        Ok(())
    }

    /// Returns the command lines of a build.
    pub(super) fn commands(&self, build: &Build) -> Result<Vec<Command>> {
        let mut commands = match &self.kind {
            Kind::Castoff(castoff) => vec![castoff_build(castoff, build)],
            Kind::Buildah => self.buildah_build(build),
            Kind::Classic(docker) | Kind::BuildKit(docker) => self.docker_build(docker, build),
            Kind::Custom(custom) => {
                ensure!(build.output == Output::Store, "only the build itself is asked of it");
                let path = |path: &Path| path.display().to_string();
                let directory = build.dockerfile.parent().context("a Dockerfile lies in a directory")?;
                let values = [
                    ("{dockerfile}", path(&build.dockerfile)),
                    ("{directory}", path(directory)),
                    ("{context}", path(&build.context)),
                    ("{tag}", build.tag.clone()),
                ];
                vec![template(&custom.build, &values)]
            }
        };
        for command in &mut commands {
            command.stdin(Stdio::null());
        }
        Ok(commands)
    }

    fn buildah_build(&self, build: &Build) -> Vec<Command> {
        let mut command = buildah::build(self.world);
        command.args(["--layers", "--pull=missing", "--tls-verify=false", "-t", &build.tag]);
        let mut push = buildah::command(self.world);
        push.args(["push", "--quiet", "--tls-verify=false", &build.tag]);
        let mut commands = Vec::new();
        match &build.output {
            Output::Store => {}
            Output::Archive(path) => {
                push.arg(format!("oci-archive:{}", path.display()));
                commands.push(push);
            }
            Output::Push => {
                push.arg(format!("docker://{}", build.tag));
                commands.push(push);
            }
            // It names a repository, and tags by cache keys.
            Output::PushCache(cache) => {
                let repository = repository(cache);
                command.args(["--cache-to", repository, "--cache-from", repository]);
            }
            Output::FromCache(cache) => {
                command.args(["--cache-from", repository(cache)]);
            }
        }
        command.arg("-f").arg(&build.dockerfile).arg(&build.context);
        commands.insert(0, command);
        commands
    }

    fn docker_build(&self, docker: &Docker, build: &Build) -> Vec<Command> {
        let is_buildkit = matches!(self.kind, Kind::BuildKit(_));
        let mut command = docker.command(self.world);
        if is_buildkit {
            command.args(["buildx", "build", "--progress", "plain", "--provenance=false"]);
        } else {
            command.env("DOCKER_BUILDKIT", "0").arg("build");
        }
        command.args(["--network", "host", "-t", &build.tag]);
        let mut commands = Vec::new();
        let mut push = docker.command(self.world);
        match &build.output {
            Output::Store => {}
            Output::Archive(path) => {
                push.args(["save", "-o"]).arg(path).arg(&build.tag);
                commands.push(push);
            }
            Output::Push => {
                push.args(["push", "--quiet", &build.tag]);
                commands.push(push);
            }
            // The engine's own BuildKit exports no other cache than one inside the image.
            Output::PushCache(cache) => {
                command.args(["-t", cache]);
                if is_buildkit {
                    command.args(["--cache-to", "type=inline"]);
                }
                push.args(["push", "--quiet", cache]);
                commands.push(push);
            }
            Output::FromCache(cache) => {
                if !is_buildkit {
                    push.args(["pull", "--quiet", cache]);
                    command.args(["--cache-from", cache]);
                    command.arg("-f").arg(&build.dockerfile).arg(&build.context);
                    return vec![push, command];
                }
                command.arg("--cache-from").arg(format!("type=registry,ref={cache}"));
            }
        }
        command.arg("-f").arg(&build.dockerfile).arg(&build.context);
        commands.insert(0, command);
        commands
    }

    /// Writes an image as `docker save` does; nothing when nobody said how.
    pub(super) fn save(&self, tag: &str) -> Result<Option<PathBuf>> {
        let directory = match &self.kind {
            Kind::Castoff(castoff) => castoff.directory(),
            Kind::Buildah | Kind::Classic(_) | Kind::BuildKit(_) | Kind::Custom(_) => &self.world.directory,
        };
        let file = directory.join("saved.tar");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let mut command = match &self.kind {
            Kind::Castoff(castoff) => {
                let mut command = castoff.command();
                command.args(["save", "--format", "docker", "-o"]).arg(&file).arg(tag);
                command
            }
            Kind::Buildah => {
                let to = format!("docker-archive:{}:saved:latest", file.display());
                let mut command = buildah::command(self.world);
                command.args(["push", "--quiet", "--disable-compression", tag, &to]);
                command
            }
            Kind::Classic(docker) | Kind::BuildKit(docker) => {
                let mut command = docker.command(self.world);
                command.args(["save", "-o"]).arg(&file).arg(tag);
                command
            }
            Kind::Custom(custom) => {
                let Some(save) = &custom.save else { return Ok(None) };
                template(save, &[("{tag}", tag.to_owned()), ("{file}", file.display().to_string())])
            }
        };
        capture(&mut command)?;
        Ok(Some(file))
    }

    /// Returns the directory of the store, where it is known.
    pub(super) fn store(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Castoff(castoff) => Some(castoff.root()),
            Kind::Buildah => Some(self.world.directory.join("buildah/root")),
            Kind::Classic(_) | Kind::BuildKit(_) => Some(self.world.directory.join("docker/data")),
            Kind::Custom(_) => None,
        }
    }

    /// Returns the processes that stay between builds.
    pub(super) fn daemon(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Classic(docker) | Kind::BuildKit(docker) => pids_below(docker.pid()),
            Kind::Castoff(_) | Kind::Buildah | Kind::Custom(_) => Vec::new(),
        }
    }
}

fn castoff_build(castoff: &Castoff, build: &Build) -> Command {
    let mut command = castoff.command();
    command.args(["build", "--progress", "plain", "-t", &build.tag]);
    if let Some(secret) = &build.secret {
        command.arg("--secret").arg(format!("id=bench,src={}", secret.display()));
    }
    match &build.output {
        Output::Store => {}
        Output::Archive(path) => {
            let mut output = OsString::from("type=oci,dest=");
            output.push(path);
            command.arg("-o").arg(output);
        }
        Output::Push => {
            command.arg("--push");
        }
        Output::PushCache(cache) => {
            command.arg("--cache-to").arg(format!("type=registry,mode=max,ref={cache}"));
        }
        Output::FromCache(cache) => {
            command.arg("--cache-from").arg(format!("type=registry,ref={cache}"));
        }
    }
    command.arg("-f").arg(&build.dockerfile).arg(&build.context);
    command
}

fn repository(reference: &str) -> &str {
    reference.rsplit_once(':').map_or(reference, |(repository, _)| repository)
}

/// Returns a command line whose words have their places filled in. There is no quoting: a value is in
/// one word whatever it contains.
fn template(text: &str, values: &[(&str, String)]) -> Command {
    let mut words = text
        .split_whitespace()
        .map(|word| values.iter().fold(word.to_owned(), |word, (place, value)| word.replace(place, value)));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Removes a directory that may hold what only root removes quickly.
pub(super) fn remove(path: &Path) -> Result<()> {
    capture(Command::new("rm").args(["--recursive", "--force", "--one-file-system"]).arg(path)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::show;

    #[test]
    fn a_template_is_filled_in_word_by_word() {
        let values = [("{context}", "/a b".to_owned()), ("{tag}", "t".to_owned())];
        let command = template("mine build name={tag}  {context}", &values);
        assert_eq!(show(&command), "mine build name=t /a b");
        assert_eq!(command.get_args().count(), 3);
    }

    #[test]
    fn a_repository_is_a_reference_without_its_tag() {
        assert_eq!(repository("localhost:5000/cache:latest"), "localhost:5000/cache");
    }
}

//! The examples from end to end: built, started, questioned, and searched for what must not ship.

mod reproduction;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::bases;
use crate::castoff::{self, Castoff};
use crate::command::{capture, examples, is_ci, output_directory, repository};
use crate::examples::{Ask, Example, select};
use crate::http::free_port;
use crate::server::Server;

/// Counts and prints the outcome of every check.
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    fn check(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> bool {
        let started = Instant::now();
        let result = body();
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {seconds:7.2} s  {name}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {seconds:7.2} s  {name}\n{error:#}");
            }
        }
        result.is_ok()
    }
}

/// Runs the named examples, or all.
pub fn main(names: &[String]) -> Result<()> {
    run(&Castoff::locate()?, &select(names)?)
}

/// Runs examples with a castoff.
pub fn run(castoff: &Castoff, selected: &[&Example]) -> Result<()> {
    let left_out = bases::provide(castoff)?;
    let mut tally = Tally { passed: 0, failed: 0, skipped: 0 };
    for example in selected {
        let lacking = left_out.iter().find(|(base, _)| example.bases.contains(base));
        match lacking {
            None => examine(castoff, example, &mut tally),
            Some((base, reason)) if is_ci() => {
                tally.check(&format!("{}: has its base", example.name), || bail!("no {base}: {reason}"));
            }
            Some((base, reason)) => {
                tally.skipped += 1;
                println!("skipped            {}: no {base}: {reason}", example.name);
            }
        }
    }
    let skipped = if tally.skipped == 0 { String::new() } else { format!(", {} skipped", tally.skipped) };
    println!("{} passed, {} failed{skipped}", tally.passed, tally.failed);
    ensure!(tally.failed == 0, "{} checks failed", tally.failed);
    Ok(())
}

fn examine(castoff: &Castoff, example: &Example, tally: &mut Tally) {
    let name = example.name;
    let setting = match Setting::new(example) {
        Ok(setting) => setting,
        Err(error) => {
            tally.check(&format!("{name}: is set up"), || Err(error));
            return;
        }
    };
    if setting.registry.is_some() {
        tally.check(&format!("{name}: is refused without its secret"), || {
            match castoff.build(&setting.arguments(example, &["-t", "e2e-refused"], false)) {
                Ok(_) => bail!("the build passed without a token"),
                Err(error) => ensure!(error.to_string().contains("npm_token"), "{error:#}"),
            }
            Ok(())
        });
    }
    let image = image_name(example);
    if !tally.check(&format!("{name}: builds"), || {
        castoff.build(&setting.arguments(example, &["-t", &image], true)).map(drop)
    }) {
        return;
    }
    tally.check(&format!("{name}: builds again without running a step"), || {
        let executed =
            castoff::executed(&castoff.build(&setting.arguments(example, &["-t", &image], true))?);
        ensure!(executed.is_empty(), "these steps ran again:\n{}", executed.join("\n"));
        Ok(())
    });
    if example.name == "node-api" {
        tally.check("node-api: its tests pass as a stage of their own", || {
            castoff.build(&setting.arguments(example, &["--target", "tester"], true)).map(drop)
        });
    }
    tally.check(&format!("{name}: works"), || ask(castoff, example));
    if let Some(user) = example.user {
        tally.check(&format!("{name}: runs as user {user}"), || {
            let printed =
                capture(castoff.command().args(["run", "--rm", "--entrypoint", "id", &image, "-u"]))?;
            ensure!(printed.trim() == user, "it runs as user {}", printed.trim());
            Ok(())
        });
    }
    tally.check(&format!("{name}: ships what it needs and nothing else"), || {
        let files = files(castoff, example, &setting)?;
        let wrong = disagreements(&files, example);
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    });
    // Once is enough: who builds it is in no layer, which the tests of outputs show.
    if example.reproducible && std::env::var_os("CASTOFF_E2E_USER").is_none() {
        tally.check(&format!("{name}: is the same bytes when it is built elsewhere"), || {
            reproduction::reproduces(castoff, example, &setting)
        });
    }
    if let Some(registry) = &setting.registry {
        tally.check(&format!("{name}: its secret is nowhere in the store"), || {
            let holders = files_with(&castoff.root(), registry.token.as_bytes())?;
            ensure!(holders.is_empty(), "found in {holders:?}");
            Ok(())
        });
    }
}

/// Returns the local name of an example's image.
pub fn image_name(example: &Example) -> String {
    format!("e2e-{}", example.name)
}

/// What has to run beside the build of an example, and the arguments that come of it.
pub struct Setting {
    registry: Option<PrivateRegistry>,
}

struct PrivateRegistry {
    token: String,
    token_file: PathBuf,
    port: u16,
    // Ends with the setting.
    _server: Server,
}

impl Setting {
    /// Starts what the example needs.
    pub fn new(example: &Example) -> Result<Setting> {
        fs::create_dir_all(output_directory())?;
        let registry =
            if example.name == "private-token" { Some(PrivateRegistry::start(example)?) } else { None };
        Ok(Setting { registry })
    }

    /// Returns the arguments of `castoff build`, with or without the secrets.
    pub fn arguments(&self, example: &Example, extra: &[&str], secrets: bool) -> Vec<OsString> {
        let directory = examples().join(example.name);
        let mut arguments: Vec<OsString> = extra.iter().map(OsString::from).collect();
        if let Some(registry) = &self.registry {
            arguments.extend(["--build-arg".into(), format!("REGISTRY=127.0.0.1:{}", registry.port).into()]);
            if secrets {
                let mut secret = OsString::from("id=npm_token,src=");
                secret.push(&registry.token_file);
                arguments.extend(["--secret".into(), secret]);
            }
        }
        if example.on_machine {
            arguments.extend(["--build-context".into(), "toolchain=/".into()]);
        }
        if example.name == "rust-self" {
            arguments.extend(["-f".into(), directory.join("Dockerfile").into()]);
            arguments.extend(["--build-context".into(), format!("rust={}", sysroot()).into()]);
            arguments.push(repository().into());
        } else {
            arguments.push(directory.into());
        }
        arguments
    }
}

impl PrivateRegistry {
    fn start(example: &Example) -> Result<PrivateRegistry> {
        let port = free_port()?;
        // Unlike any other text on this machine, so that finding it means that it leaked.
        let token = format!("e2e-secret-{}-{}", std::process::id(), nanoseconds());
        let token_file = output_directory().join("npm_token");
        fs::write(&token_file, &token)?;
        let script = examples().join(example.name).join("test/registry.js");
        let log = output_directory().join("registry.log");
        let mut server =
            Server::start(Command::new("node").arg(script).arg(&token).arg(port.to_string()), &log)?;
        let answer = server.get(port, "/@acme/haiku")?;
        ensure!(answer.status == 401, "the private registry answers without a token");
        Ok(PrivateRegistry { token, token_file, port, _server: server })
    }
}

fn nanoseconds() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos())
}

fn sysroot() -> String {
    let printed = capture(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    printed.trim().to_owned()
}

/// Runs the image and looks at what it answers.
fn ask(castoff: &Castoff, example: &Example) -> Result<()> {
    let image = image_name(example);
    match &example.ask {
        Ask::Run { arguments, expect } => {
            let printed = capture(castoff.command().args(["run", "--rm", &image]).args(*arguments))?;
            ensure!(printed.contains(expect), "it printed `{}`", printed.trim());
        }
        Ask::Http { path, expect } => {
            let port = free_port()?;
            let log = castoff.directory().join(format!("{}.log", example.name));
            let mut server = Server::start(
                castoff.command().args(["run", "--rm", "-e", &format!("PORT={port}"), &image]),
                &log,
            )?;
            let answer = server.get(port, path)?;
            ensure!(answer.status == 200, "it answered {}: {}", answer.status, answer.body.trim());
            ensure!(answer.body.contains(expect), "it answered `{}`", answer.body.trim());
            ensure!(server.stop()?, "it did not end when asked to");
        }
    }
    Ok(())
}

/// Returns the paths of the image's file system.
fn files(castoff: &Castoff, example: &Example, setting: &Setting) -> Result<BTreeSet<String>> {
    let tar = export(castoff, example, setting, None)?;
    let listing = capture(Command::new("tar").arg("-tf").arg(&tar))?;
    fs::remove_file(&tar)?;
    Ok(listing
        .lines()
        .map(|line| line.trim_start_matches("./").trim_end_matches('/').to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}

/// Writes the file system of the image, or of one stage, to a tar file.
pub fn export(
    castoff: &Castoff,
    example: &Example,
    setting: &Setting,
    stage: Option<&str>,
) -> Result<PathBuf> {
    let tar = castoff.directory().join(format!("{}.tar", example.name));
    let output = format!("type=tar,dest={}", tar.display());
    let mut extra = vec!["-o", output.as_str()];
    if let Some(stage) = stage {
        extra.extend(["--target", stage]);
    }
    castoff.build(&setting.arguments(example, &extra, true))?;
    Ok(tar)
}

/// Says what is there and must not be, and what is not there and must be.
fn disagreements(files: &BTreeSet<String>, example: &Example) -> Vec<String> {
    let has = |path: &str| {
        let below = format!("{path}/");
        files.contains(path)
            || files.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    };
    let surplus = example.absent.iter().filter(|path| has(path)).map(|path| format!("ships {path}"));
    let lacking = example.present.iter().filter(|path| !has(path)).map(|path| format!("lacks {path}"));
    surplus.chain(lacking).collect()
}

/// Returns the files below a directory that hold the bytes.
fn files_with(directory: &Path, needle: &[u8]) -> Result<Vec<PathBuf>> {
    let text = std::str::from_utf8(needle).context("the token is text")?;
    let output = Command::new("grep")
        .args(["--recursive", "--files-with-matches", "--fixed-strings", "--devices=skip", "--", text])
        .arg(directory)
        .output()
        .context("cannot start `grep`")?;
    // 0: found, 1: not found; anything else means that not everything could be read.
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()),
        Some(1) => Ok(Vec::new()),
        _ => bail!("grep failed: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::EXAMPLES;

    #[test]
    fn surplus_and_lacking_paths_are_named() {
        let example = Example {
            name: "a",
            bases: &[],
            on_machine: false,
            builder: "builder",
            ask: Ask::Run { arguments: &[], expect: "" },
            absent: &["src", "app/node_modules/typescript", "go"],
            present: &["app", "greet"],
            user: None,
            reproducible: false,
        };
        let files = ["app/main.js", "app/node_modules/typescript/x", "src", "golf"];
        let files = files.into_iter().map(str::to_owned).collect();
        assert_eq!(
            disagreements(&files, &example),
            ["ships src", "ships app/node_modules/typescript", "lacks greet"]
        );
    }

    #[test]
    fn every_example_has_a_directory_with_a_dockerfile_that_has_the_stage() {
        for example in EXAMPLES {
            let path = repository().join("examples").join(example.name).join("Dockerfile");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("AS {}\n", example.builder)), "{}", example.name);
            for base in example.bases {
                assert!(text.contains(&format!("FROM {base}")), "{} FROM {base}", example.name);
            }
        }
    }
}

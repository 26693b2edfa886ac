//! From an operation to the recipe of its cache key (section 19). Pure.
//!
//! A step has up to two recipes. The *definition* names other stages by their identity; it can be
//! computed at once. The *content* recipe names what is read of them by its digest; it is asked for
//! only when the definition is not known, and it is what the step is known by downstream. Steps that
//! read no other stage have one recipe.

use castoff_graph::{
    CacheKey, Chmod, CopyKind, CopyOp, CopySource, KeyRecipe, Mount, NetworkMode, Op, RunOp, SecurityMode,
    SourceOp, VertexId, WorkdirOp,
};
use castoff_oci::Digest;

/// A part of another vertex's file system whose content a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// The vertex.
    pub(crate) from: VertexId,
    /// What part of it.
    pub(crate) part: ReadPart,
}

/// Which part of a file system is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadPart {
    /// What a COPY source selects; its position among the sources.
    CopySource(usize),
    /// The subtree a mount shows; its position among the mounts.
    Mount(usize),
}

/// What is known of a [`Read`] when a recipe is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// The identity of the vertex it is read from.
    Identity(CacheKey),
    /// The digest of the content selected.
    Content(Digest),
}

/// Returns what an operation reads of other vertices, apart from its parent, in order.
pub(crate) fn reads(op: &Op) -> Vec<Read> {
    match op {
        Op::Source(_) | Op::Workdir(_) => Vec::new(),
        Op::Run(run) => run
            .mounts
            .iter()
            .enumerate()
            .filter_map(|(index, mount)| Some(Read { from: mount.input()?, part: ReadPart::Mount(index) }))
            .collect(),
        Op::Copy(copy) => copy
            .sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| match source {
                CopySource::Files { from, .. } => {
                    Some(Read { from: *from, part: ReadPart::CopySource(index) })
                }
                CopySource::Inline { .. } => None,
            })
            .collect(),
    }
}

/// Returns the recipe of an operation.
///
/// `parent` is the identity of the operation's parent. `known` holds one answer per entry of
/// [`reads`], in the same order. Sources other than scratch and images have no recipe of their own:
/// their identity is their content.
pub(crate) fn recipe(op: &Op, parent: Option<CacheKey>, known: &[Known]) -> KeyRecipe {
    match op {
        Op::Source(source) => source_recipe(source),
        Op::Run(run) => run_recipe(run, parent, known),
        Op::Copy(copy) => copy_recipe(copy, parent, known),
        Op::Workdir(workdir) => workdir_recipe(workdir, parent),
    }
}

/// Returns what a step is known by downstream, given the key of its own result.
///
/// The result of a `--link` copy does not depend on its parent, but the file system it leaves does
/// (D-219): there it is known by both.
pub(crate) fn identity(op: &Op, parent: Option<CacheKey>, key: CacheKey) -> CacheKey {
    match (op, parent) {
        (Op::Copy(copy), Some(parent)) if copy.link => {
            let mut recipe = KeyRecipe::new("merge");
            recipe.part("parent", parent.to_string());
            recipe.part("layer", key.to_string());
            recipe.key()
        }
        (Op::Source(_) | Op::Run(_) | Op::Copy(_) | Op::Workdir(_), _) => key,
    }
}

fn source_recipe(source: &SourceOp) -> KeyRecipe {
    match source {
        SourceOp::Scratch => KeyRecipe::new("scratch"),
        SourceOp::Image { manifest, platform, reference: _ } => {
            let mut recipe = KeyRecipe::new("image");
            recipe.part("manifest", manifest.to_string());
            recipe.part("platform", platform.to_string());
            recipe
        }
        SourceOp::Local(_) => KeyRecipe::new("local"),
        SourceOp::Tree { layer, name: _ } => {
            let mut recipe = KeyRecipe::new("tree");
            recipe.part("layer", layer.0.to_string());
            recipe
        }
        SourceOp::Http(_) | SourceOp::Git(_) => unreachable!("what is fetched is known by what came"),
    }
}

/// D-315: what came, what it is called, and the time it has. The address does not count.
pub(crate) fn http_recipe(content: &Digest, name: &str, last_modified: Option<i64>) -> KeyRecipe {
    let mut recipe = KeyRecipe::new("http");
    recipe.part("content", content.to_string());
    recipe.part("name", name);
    recipe.part("last modified", last_modified.map(|time| time.to_string()).unwrap_or_default());
    recipe
}

fn parent_part(recipe: &mut KeyRecipe, parent: Option<CacheKey>) {
    if let Some(parent) = parent {
        recipe.part("parent", parent.to_string());
    }
}

fn known_part(recipe: &mut KeyRecipe, name: String, known: &Known) {
    match known {
        Known::Identity(identity) => recipe.part(format!("{name} from"), identity.to_string()),
        Known::Content(digest) => recipe.part(format!("{name} content"), digest.to_string()),
    }
}

/// D-307, D-309.
fn run_recipe(run: &RunOp, parent: Option<CacheKey>, known: &[Known]) -> KeyRecipe {
    let mut recipe = KeyRecipe::new("run");
    recipe.part("platform", run.platform.to_string());
    for (index, argument) in run.argv.iter().enumerate() {
        recipe.part(format!("argument {index}"), argument);
    }
    for (name, value) in &run.env {
        recipe.part(format!("environment {name}"), value);
    }
    recipe.part("working directory", &run.workdir);
    recipe.part("user", &run.user);
    recipe.part("hostname", &run.hostname);
    recipe.part(
        "network",
        match run.network {
            NetworkMode::Default => "default",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        },
    );
    recipe.part(
        "security",
        match run.security {
            SecurityMode::Sandbox => "sandbox",
            SecurityMode::Insecure => "insecure",
        },
    );
    for host in &run.extra_hosts {
        recipe.part(format!("extra host {}", host.name), "");
    }
    if let Some(size) = run.shm_size {
        recipe.part("shm size", size.to_string());
    }
    for limit in &run.ulimits {
        recipe.part(format!("ulimit {}", limit.name), format!("{}:{}", limit.soft, limit.hard));
    }
    for request in &run.devices {
        recipe.part(format!("device {}", request.name), if request.required { "required" } else { "" });
    }
    if let Some(script) = &run.script {
        recipe.part(format!("script {}", script.path), String::from_utf8_lossy(&script.content));
    }
    let mut known = known.iter();
    for mount in &run.mounts {
        let name = format!("mount {}", mount.target().unwrap_or("environment"));
        recipe.part(name.clone(), mount_text(mount));
        if mount.input().is_some() {
            let answer = known.next().expect("there is an answer for each mount that reads a vertex");
            known_part(&mut recipe, name, answer);
        }
    }
    parent_part(&mut recipe, parent);
    recipe
}

fn mount_text(mount: &Mount) -> String {
    match mount {
        Mount::Bind { source, writable, .. } => format!("bind {source} writable={writable}"),
        Mount::Cache { source, writable, .. } if source == "/" => format!("cache writable={writable}"),
        Mount::Cache { source, writable, .. } => format!("cache {source} writable={writable}"),
        Mount::Tmpfs { size, .. } => format!("tmpfs size={}", size.unwrap_or(0)),
        Mount::Secret { id, env, mode, uid, gid, required, .. } => {
            let env = env.as_deref().unwrap_or("");
            format!("secret id={id} env={env} mode={mode:o} uid={uid} gid={gid} required={required}")
        }
        Mount::Ssh { id, mode, uid, gid, required, .. } => {
            format!("ssh id={id} mode={mode:o} uid={uid} gid={gid} required={required}")
        }
    }
}

/// D-311, D-219: the parent does not count for an independent layer.
fn copy_recipe(copy: &CopyOp, parent: Option<CacheKey>, known: &[Known]) -> KeyRecipe {
    let mut recipe = KeyRecipe::new(match copy.kind {
        CopyKind::Copy => "copy",
        CopyKind::Add { .. } => "add",
    });
    if let CopyKind::Add { unpack: Some(unpack) } = copy.kind {
        recipe.part("unpack", unpack.to_string());
    }
    recipe.part("destination", &copy.destination);
    if let Some(owner) = &copy.owner {
        let group = owner.group.as_deref().map(|group| format!(":{group}")).unwrap_or_default();
        recipe.part("chown", format!("{}{group}", owner.user));
    }
    match &copy.chmod {
        Some(Chmod::Octal(bits)) => recipe.part("chmod", format!("{bits:o}")),
        Some(Chmod::Symbolic(text)) => recipe.part("chmod", text),
        None => {}
    }
    for (set, name) in [(copy.link, "link"), (copy.parents, "parents")] {
        if set {
            recipe.part(name, "true");
        }
    }
    for pattern in &copy.exclude {
        recipe.part(format!("exclude {pattern}"), "");
    }
    let mut known = known.iter();
    for (index, source) in copy.sources.iter().enumerate() {
        match source {
            CopySource::Files { pattern, .. } => {
                let answer = known.next().expect("there is an answer for each source that reads a vertex");
                // With the content known, the wording of the source no longer matters.
                if let Known::Identity(_) = answer {
                    recipe.part(format!("source {index} path"), pattern);
                }
                known_part(&mut recipe, format!("source {index}"), answer);
            }
            CopySource::Inline { name, content } => {
                recipe.part(format!("heredoc {name}"), Digest::of(content).to_string());
            }
        }
    }
    if !copy.link {
        parent_part(&mut recipe, parent);
    }
    recipe
}

/// D-317.
fn workdir_recipe(workdir: &WorkdirOp, parent: Option<CacheKey>) -> KeyRecipe {
    let mut recipe = KeyRecipe::new("workdir");
    recipe.part("path", &workdir.path);
    recipe.part("user", &workdir.user);
    if let Some(epoch) = workdir.epoch {
        recipe.part("epoch", epoch.to_string());
    }
    parent_part(&mut recipe, parent);
    recipe
}

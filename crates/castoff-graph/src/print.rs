//! Printing a graph: text for people and tests, JSON for programs, Graphviz dot for pictures.
//!
//! The text form has one line per vertex, `vN operation`, followed by indented lines for what is not at
//! its default; then one line per output. With several outputs each vertex says which of them need it.
//! The three forms are for looking at: none is read back.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::remote::{GitSource, GitTime, redacted};
use crate::{
    BuildGraph, Chmod, CopyKind, CopyOp, CopySource, DeviceRequest, ImageOutput, LocalName, Mount,
    NetworkMode, Op, Owner, RunOp, SecurityMode, Sharing, SourceOp, Vertex,
};

/// Returns the graph and its outputs as text, inputs first.
pub fn text(graph: &BuildGraph, outputs: &[ImageOutput]) -> String {
    let mut out = String::new();
    let users = users(graph, outputs);
    for (id, vertex) in graph.iter() {
        line(&mut out, &format!("{id} {}", summary(&vertex.op)));
        if outputs.len() > 1 {
            let platforms: Vec<String> =
                users[id.0 as usize].iter().map(|output| outputs[*output].platform.to_string()).collect();
            line(&mut out, &format!("    for: {}", platforms.join(", ")));
        }
        for (name, value) in details(vertex) {
            line(&mut out, &format!("    {name}: {value}"));
        }
    }
    for output in outputs {
        line(&mut out, &format!("output {}: {}", output.platform, output.vertex));
    }
    out
}

/// Returns the graph and its outputs as a JSON document with the lists `vertices` and `outputs`.
pub fn json(graph: &BuildGraph, outputs: &[ImageOutput]) -> String {
    let users = users(graph, outputs);
    let vertices: Vec<Value> = graph
        .iter()
        .map(|(id, vertex)| {
            let mut object = Map::new();
            object.insert("id".to_owned(), json!(id.0));
            object.insert("op".to_owned(), json!(kind(&vertex.op)));
            object.insert("name".to_owned(), json!(vertex.name));
            object.insert("stage".to_owned(), json!(vertex.stage));
            let inputs: Vec<u32> = vertex.op.inputs().into_iter().map(|input| input.0).collect();
            object.insert("inputs".to_owned(), json!(inputs));
            object.insert("outputs".to_owned(), json!(users[id.0 as usize]));
            object.insert("summary".to_owned(), json!(summary(&vertex.op)));
            if let Some(origin) = &vertex.origin {
                let place =
                    json!({ "source": origin.source, "first_line": origin.first_line, "last_line": origin.last_line });
                object.insert("origin".to_owned(), place);
            }
            let details: Vec<Value> = details(vertex)
                .into_iter()
                .filter(|(name, _)| *name != "name")
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect();
            object.insert("details".to_owned(), Value::Array(details));
            Value::Object(object)
        })
        .collect();
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|output| {
            let history: Vec<Value> = output
                .history
                .iter()
                .map(|entry| json!({ "created_by": entry.created_by, "vertex": entry.vertex.map(|id| id.0) }))
                .collect();
            json!({
                "platform": output.platform.to_string(),
                "vertex": output.vertex.0,
                "config": output.config,
                "history": history,
                "epoch": output.epoch,
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&json!({ "vertices": vertices, "outputs": outputs }))
        .expect("strings, numbers and maps with string keys are JSON");
    text.push('\n');
    text
}

/// Returns the graph and its outputs in the language of Graphviz. A solid edge is the file system that
/// a step builds upon, a dashed one another input.
pub fn dot(graph: &BuildGraph, outputs: &[ImageOutput]) -> String {
    let mut out =
        String::from("digraph build {\n    rankdir=BT;\n    node [shape=box, fontname=monospace];\n");
    for (id, vertex) in graph.iter() {
        let _ = writeln!(out, "    {id} [label={}];", quoted(&vertex.name));
        for input in vertex.op.inputs() {
            let style = if vertex.op.parent() == Some(input) { "" } else { " [style=dashed]" };
            let _ = writeln!(out, "    {id} -> {input}{style};");
        }
    }
    for (number, output) in outputs.iter().enumerate() {
        let label = quoted(&format!("image {}", output.platform));
        let _ = writeln!(out, "    image{number} [label={label}, shape=ellipse];");
        let _ = writeln!(out, "    image{number} -> {};", output.vertex);
    }
    out.push_str("}\n");
    out
}

/// Returns, for each vertex, the places of the outputs that need it.
fn users(graph: &BuildGraph, outputs: &[ImageOutput]) -> Vec<Vec<usize>> {
    let mut users = vec![Vec::new(); graph.len()];
    for (place, output) in outputs.iter().enumerate() {
        for id in graph.needed(&[output.vertex]) {
            users[id.0 as usize].push(place);
        }
    }
    users
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Source(SourceOp::Scratch) => "scratch",
        Op::Source(SourceOp::Image { .. }) => "image",
        Op::Source(SourceOp::Local(_)) => "local",
        Op::Source(SourceOp::Http(_)) => "http",
        Op::Source(SourceOp::Git(_)) => "git",
        Op::Source(SourceOp::Tree { .. }) => "tree",
        Op::Run(_) => "run",
        Op::Copy(CopyOp { kind: CopyKind::Copy, .. }) => "copy",
        Op::Copy(CopyOp { kind: CopyKind::Add { .. }, .. }) => "add",
        Op::Workdir(_) => "workdir",
    }
}

/// Returns the operation on one line.
fn summary(op: &Op) -> String {
    let kind = kind(op);
    match op {
        Op::Source(SourceOp::Scratch) => kind.to_owned(),
        Op::Source(SourceOp::Image { reference, manifest, platform }) => {
            let pinned = reference.with_digest(*manifest);
            format!("{kind} {pinned} {platform}")
        }
        Op::Source(SourceOp::Local(name)) => format!("{kind} {}", context_name(name)),
        Op::Source(SourceOp::Http(http)) => {
            let checksum = http.checksum.map(|checksum| format!(" {checksum}")).unwrap_or_default();
            format!("{kind} {}{checksum}", redacted(&http.url))
        }
        Op::Source(SourceOp::Git(git)) => format!("{kind} {}", git_text(git)),
        Op::Source(SourceOp::Tree { name, layer }) => format!("{kind} {} {}", context_name(name), layer.0),
        Op::Run(run) => {
            let argv: Vec<String> = run.argv.iter().map(|argument| quoted(argument)).collect();
            format!("{kind} on {}: {}", run.parent, argv.join(" "))
        }
        Op::Copy(copy) => {
            let sources: Vec<String> = copy
                .sources
                .iter()
                .map(|source| match source {
                    CopySource::Files { from, pattern } => format!("{from}:{pattern}"),
                    CopySource::Inline { name, .. } => format!("<<{name}"),
                })
                .collect();
            format!("{kind} on {}: {} -> {}", copy.parent, sources.join(" "), copy.destination)
        }
        Op::Workdir(workdir) => format!("{kind} on {}: {}", workdir.parent, workdir.path),
    }
}

fn context_name(name: &LocalName) -> String {
    match name {
        LocalName::Context => "context".to_owned(),
        LocalName::Named(name) => format!("context {name}"),
    }
}

fn git_text(git: &GitSource) -> String {
    let mut text = redacted(&git.remote);
    let subdir = if git.subdir.is_empty() { String::new() } else { format!(":{}", git.subdir) };
    if git.reference.is_some() || !subdir.is_empty() {
        text.push_str(&format!("#{}{subdir}", git.reference.as_deref().unwrap_or_default()));
    }
    if let Some(checksum) = &git.checksum {
        text.push_str(&format!(" commit={checksum}"));
    }
    let marks = [
        (git.keep_git_dir, "keep-git-dir"),
        (!git.submodules, "no-submodules"),
        (git.mtime == GitTime::Commit, "mtime=commit"),
        (git.fetch_by_commit, "fetch-by-commit"),
    ];
    for (_, mark) in marks.iter().filter(|(set, _)| *set) {
        text.push(' ');
        text.push_str(mark);
    }
    text
}

/// Returns what is not at its default, in a fixed order.
fn details(vertex: &Vertex) -> Vec<(&'static str, String)> {
    let mut details = vec![("name", vertex.name.clone())];
    if vertex.ignore_cache {
        details.push(("cache", "ignored".to_owned()));
    }
    match &vertex.op {
        Op::Source(_) => {}
        Op::Run(run) => run_details(run, &mut details),
        Op::Copy(copy) => copy_details(copy, &mut details),
        Op::Workdir(workdir) => {
            if !workdir.user.is_empty() {
                details.push(("user", workdir.user.clone()));
            }
            if let Some(epoch) = workdir.epoch {
                details.push(("epoch", epoch.to_string()));
            }
        }
    }
    details
}

fn run_details(run: &RunOp, details: &mut Vec<(&'static str, String)>) {
    details.extend(run.env.iter().map(|(name, value)| ("env", format!("{name}={value}"))));
    details.extend(run.proxies.iter().map(|(name, value)| ("proxy", format!("{name}={value}"))));
    details.push(("workdir", run.workdir.clone()));
    if !run.user.is_empty() {
        details.push(("user", run.user.clone()));
    }
    if run.hostname != "buildkitsandbox" {
        details.push(("hostname", run.hostname.clone()));
    }
    match run.network {
        NetworkMode::Default => {}
        NetworkMode::None => details.push(("network", "none".to_owned())),
        NetworkMode::Host => details.push(("network", "host".to_owned())),
    }
    match run.security {
        SecurityMode::Sandbox => {}
        SecurityMode::Insecure => details.push(("security", "insecure".to_owned())),
    }
    details.extend(run.mounts.iter().map(|mount| ("mount", mount_text(mount))));
    let required = |request: &DeviceRequest| if request.required { " required" } else { "" };
    details.extend(
        run.devices.iter().map(|request| ("device", format!("{}{}", request.name, required(request)))),
    );
    if let Some(script) = &run.script {
        let content = String::from_utf8_lossy(&script.content);
        details.push(("script", format!("{} {}", script.path, quoted(&content))));
    }
    details.extend(run.extra_hosts.iter().map(|host| ("host", format!("{} {}", host.name, host.address))));
    if let Some(size) = run.shm_size {
        details.push(("shm", size.to_string()));
    }
    details.extend(
        run.ulimits.iter().map(|limit| ("ulimit", format!("{}={}:{}", limit.name, limit.soft, limit.hard))),
    );
    details.push(("platform", run.platform.to_string()));
}

fn mount_text(mount: &Mount) -> String {
    match mount {
        Mount::Bind { target, from, source, writable } => {
            format!("bind {target} from {from}:{source}{}", if *writable { " rw" } else { "" })
        }
        Mount::Cache { target, id, sharing, initial, source, mode, uid, gid, writable } => {
            let sharing = match sharing {
                Sharing::Shared => "shared",
                Sharing::Private => "private",
                Sharing::Locked => "locked",
            };
            let initial =
                initial.as_ref().map(|(from, source)| format!(" from {from}:{source}")).unwrap_or_default();
            let source = if source == "/" { String::new() } else { format!(" source={source}") };
            let read_only = if *writable { "" } else { " ro" };
            format!(
                "cache {target} id={id} {sharing}{initial}{source} mode={mode:04o} owner={uid}:{gid}{read_only}"
            )
        }
        Mount::Tmpfs { target, size } => {
            let size = size.map(|size| format!(" size={size}")).unwrap_or_default();
            format!("tmpfs {target}{size}")
        }
        Mount::Secret { id, target, env, required, mode, uid, gid } => {
            let target = target.as_ref().map(|target| format!(" {target}")).unwrap_or_default();
            let env = env.as_ref().map(|env| format!(" env={env}")).unwrap_or_default();
            let required = if *required { " required" } else { "" };
            format!("secret{target} id={id}{env}{required} mode={mode:04o} owner={uid}:{gid}")
        }
        Mount::Ssh { id, target, required, mode, uid, gid } => {
            let required = if *required { " required" } else { "" };
            format!("ssh {target} id={id}{required} mode={mode:04o} owner={uid}:{gid}")
        }
    }
}

fn copy_details(copy: &CopyOp, details: &mut Vec<(&'static str, String)>) {
    if let CopyKind::Add { unpack: Some(unpack) } = copy.kind {
        details.push(("unpack", unpack.to_string()));
    }
    if let Some(Owner { user, group }) = &copy.owner {
        let group = group.as_ref().map(|group| format!(":{group}")).unwrap_or_default();
        details.push(("owner", format!("{user}{group}")));
    }
    match &copy.chmod {
        None => {}
        Some(Chmod::Octal(bits)) => details.push(("chmod", format!("{bits:04o}"))),
        Some(Chmod::Symbolic(text)) => details.push(("chmod", text.clone())),
    }
    for (name, set) in [("link", copy.link), ("parents", copy.parents)] {
        if set {
            details.push((name, "true".to_owned()));
        }
    }
    details.extend(copy.exclude.iter().map(|pattern| ("exclude", pattern.clone())));
    for source in &copy.sources {
        if let CopySource::Inline { name, content } = source {
            details.push(("inline", format!("{name} {}", quoted(&String::from_utf8_lossy(content)))));
        }
    }
}

/// Returns the text in double quotes, with line ends, quotes and backslashes escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

//! What is said of a proof: to people, and to programs.

use std::fmt::Write as _;

use castoff_inspect::secrets::{DEPTH, Encoding, FILE_LIMIT, SCAN_LIMIT, TOKEN_RULES};
use serde_json::{Value, json};

use super::result::{Found, Proof};
use crate::table;

impl Proof {
    /// Returns whether there is something that `--require no-secrets` refuses.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Returns one line about a good proof.
    pub fn summary(&self) -> String {
        let checked = &self.scan.checked;
        let what = match self.secrets.len() {
            0 => "nothing looks like a secret".to_owned(),
            1 => format!("the secret `{}` is not", self.secrets[0]),
            count => format!("none of {count} secrets is"),
        };
        let layers = if self.layers == 1 { "layer" } else { "layers" };
        let mut text = format!(
            "{what} in {} {layers} ({} files, {}, {} unpacked of {} members), config, history and {} logs",
            self.layers,
            checked.entries,
            table::bytes(checked.bytes),
            table::bytes(checked.unpacked),
            checked.members,
            self.logs,
        );
        if self.mounts > 0 {
            let _infallible = write!(text, ", nor in {} cache mounts", self.mounts);
        }
        if checked.left > 0 {
            let _infallible = write!(text, "; {} files were not looked into", checked.left);
        }
        text
    }
}

/// Returns what people are told; empty when there is nothing to say.
pub fn text(proof: &Proof) -> String {
    let mut text = String::new();
    if !proof.leaks.is_empty() {
        text.push_str("\n secrets are in what the build gives away:\n");
        for found in &proof.leaks {
            let _infallible = writeln!(text, " - {}", found.what);
            place(found, &mut text);
        }
    } else if !proof.secrets.is_empty() {
        let _infallible = writeln!(text, "\n {}", proof.summary());
    }
    for id in &proof.too_short {
        let why = "it is in files by chance, so nothing is proved of it";
        let _infallible =
            writeln!(text, "\n the secret `{id}` is too short or too plain to be looked for: {why}");
    }
    if !proof.tokens.is_empty() {
        text.push_str("\n what looks like a secret:\n");
        for found in &proof.tokens {
            let rule = TOKEN_RULES.iter().find(|rule| rule.name == found.what.rule);
            let what = rule.map_or(found.what.rule, |rule| rule.what);
            let _infallible = writeln!(text, " - `{}` has {what} ({})", found.what.path, found.what.rule);
            place(found, &mut text);
        }
    }
    text
}

fn place<T>(found: &Found<T>, text: &mut String) {
    if let Some(step) = &found.step {
        let line = found.lines.map(|(line, _)| format!(" (line {line})")).unwrap_or_default();
        let _infallible = writeln!(text, "   by {step}{line}");
    }
}

/// Returns the statement for programs (docs/secrets.md).
pub fn to_json(proof: &Proof) -> Value {
    let checked = &proof.scan.checked;
    let leak = |found: &Found<castoff_solver::Leak>| {
        json!({
            "secret": found.what.secret,
            "place": found.what.place,
            "encoding": found.what.encoding,
            "step": found.step,
            "line": found.lines.map(|lines| lines.0),
        })
    };
    let token = |found: &Found<castoff_inspect::secrets::TokenFind>| {
        json!({
            "rule": found.what.rule,
            "path": found.what.path,
            "step": found.step,
            "line": found.lines.map(|lines| lines.0),
        })
    };
    let unread = checked.unread.iter().map(|file| json!({ "path": file.path, "reason": file.reason }));
    json!({
        "secrets": proof.secrets,
        "tooShort": proof.too_short,
        "found": proof.leaks.iter().map(leak).collect::<Vec<_>>(),
        "encodings": Encoding::ALL.map(Encoding::name),
        "layers": proof.layers,
        "baseLayersNotRead": proof.base_layers,
        "entries": checked.entries,
        "texts": checked.texts,
        "logs": proof.logs,
        "cacheMounts": proof.mounts,
        "cacheMountEntries": proof.mount_files,
        "bytes": checked.bytes,
        "members": checked.members,
        "unpackedBytes": checked.unpacked,
        "deepest": checked.depth,
        "limits": { "depth": DEPTH, "unpackedBytesOfFile": FILE_LIMIT, "unpackedBytes": SCAN_LIMIT },
        "notLookedInto": checked.left,
        "notLookedIntoFirst": unread.collect::<Vec<_>>(),
        "tokens": proof.tokens.iter().map(token).collect::<Vec<_>>(),
    })
}

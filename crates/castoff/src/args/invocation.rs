//! The names under which the program may be called (B-001).

use std::ffi::OsString;
use std::path::Path;

/// Returns the words as castoff's own command line, and whether the name was `docker`.
///
/// Under the names `docker` and `docker-buildx`, and also as `castoff buildx build`, the management words
/// `buildx`, `image` and `builder` are left out and the commands that have other names here are renamed.
pub(super) fn normalise(mut words: Vec<OsString>) -> (Vec<OsString>, bool) {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let docker = name == "docker" || name == "docker-buildx";
    let Some(at) = first_word(&words) else { return (words, docker) };
    // Docker starts its plug-in as `docker-buildx buildx build`; people do without the second word.
    let group = match words[at].to_str() {
        Some(group @ ("buildx" | "image" | "builder")) if at + 1 < words.len() => {
            let group = group.to_owned();
            words.remove(at);
            group
        }
        _ if name == "docker-buildx" => "buildx".to_owned(),
        _ => return (words, docker),
    };
    let renamed = match (group.as_str(), words[at].to_str()) {
        ("buildx", Some("b")) => Some("build"),
        ("image", Some("ls" | "list")) => Some("images"),
        ("image", Some("rm" | "remove")) => Some("rmi"),
        _ => None,
    };
    if let Some(renamed) = renamed {
        words[at] = renamed.into();
    }
    (words, docker)
}

/// Returns the place of the first word that is not a flag of the program itself.
fn first_word(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.to_str() {
            Some("--root") => at += 2,
            Some(flag) if flag.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

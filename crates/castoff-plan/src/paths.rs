//! Paths inside an image: text with `/`, cleaned lexically and kept below the root.

/// Returns the absolute clean path of a path taken from a directory: `.`, `..` and repeated slashes
/// are resolved without looking at any file system, and nothing leads above the root.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { directory };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the absolute path of a COPY destination. A trailing slash says that it is a directory: it
/// is there when the text ended in `/` or `/.`, or was empty or `.` (D-199).
pub(crate) fn destination(workdir: &str, path: &str) -> String {
    let clean = absolute(workdir, path);
    let directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
    if directory && clean != "/" { format!("{clean}/") } else { clean }
}

/// Returns a path as Go's `path.Clean` does: a relative path stays relative, an empty one is `.`.
pub(crate) fn clean(path: &str) -> String {
    if path.starts_with('/') {
        return absolute("/", path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Returns the last part of a path, as Go's `path.Base` does.
pub(crate) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

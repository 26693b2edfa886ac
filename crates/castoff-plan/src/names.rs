//! Step names as BuildKit shows them: `[builder 2/5] RUN make` (B-145 to B-147).

use castoff_oci::Platform;

use crate::scope::Scope;

/// Longest name that variables may make, in bytes.
const LONGEST: usize = 16 << 10;

/// Names the steps of one stage in order.
#[derive(Debug, Clone)]
pub(crate) struct StepNames {
    /// The platform of the stage, in builds for several platforms.
    pub(crate) platform: Option<Platform>,
    /// The stage, in files with several.
    pub(crate) stage: Option<String>,
    /// How many steps there are.
    pub(crate) total: usize,
    /// How many were named.
    pub(crate) index: usize,
}

impl StepNames {
    /// Returns the name of the next step. The text is shown with its variables replaced.
    pub(crate) fn next(&mut self, scope: &Scope, text: &str) -> String {
        self.index += 1;
        let platform = match &self.platform {
            Some(platform) => format!("{platform}{} ", cross_target(platform, scope)),
            None => String::new(),
        };
        let stage = self.stage.as_ref().map(|stage| format!("{stage} ")).unwrap_or_default();
        let width = self.total.to_string().len();
        format!("[{platform}{stage}{:>width$}/{}] {text}", self.index, self.total)
    }
}

/// Returns `->arch` when the stage declared that it builds for another platform than its own.
fn cross_target(platform: &Platform, scope: &Scope) -> String {
    let declared = |name: &str| scope.get(name).filter(|value| !value.is_empty());
    let target = match declared("TARGETPLATFORM").and_then(|value| value.parse().ok()) {
        Some(target) => target,
        None if declared("TARGETOS").is_some() || declared("TARGETARCH").is_some() => Platform::normalised(
            declared("TARGETOS").unwrap_or(&platform.os),
            declared("TARGETARCH").unwrap_or(&platform.architecture),
            declared("TARGETVARIANT"),
        ),
        None => return String::new(),
    };
    if target.os != platform.os {
        return format!("->{target}");
    }
    if target.architecture == platform.architecture {
        return String::new();
    }
    match &target.variant {
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}

/// Returns text with its variables replaced for display (D-083): set ones by their values, unset ones
/// and operators stay as written, quotes and escapes are kept, single quotes protect.
pub(crate) fn display(text: &str, escape: char, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut single = false;
    let mut double = false;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        let mut replacement = None;
        if single {
            single = first != '\'';
        } else if first == '\'' && !double {
            single = true;
        } else if first == '"' {
            double = !double;
        } else if first == escape {
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        } else if first == '$'
            && let Some((name, length)) = reference(rest)
        {
            taken = length;
            // A name that long shows the rest as it is written.
            replacement = variable(name).filter(|value| out.len() + value.len() <= LONGEST);
        }
        match replacement {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    out
}

/// Returns the name at a `$name` or `${name}` and the length of the whole.
fn reference(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix('$')?;
    let braced = inner.strip_prefix('{');
    let start = braced.unwrap_or(inner);
    let length = start.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(start.len());
    let name = &start[..length];
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    match braced {
        Some(_) => start[length..].starts_with('}').then_some((name, length + 3)),
        None => Some((name, length + 1)),
    }
}

/// Returns what a step name shows of an instruction with here-documents: its first line, and for a
/// script the first line of the body (D-059).
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// Returns the first line of a body, with `...` when there is more.
pub(crate) fn summary(body: &str) -> String {
    let body = body.trim();
    let first = first_line(body);
    if first.len() < body.len() { format!("{first}...") } else { first.to_owned() }
}

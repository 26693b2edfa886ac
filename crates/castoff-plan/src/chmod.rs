//! The value of `--chmod`: octal, or symbolic as in the command of that name (D-215, D-216).

use castoff_graph::Chmod;

/// Parses a change of permission bits.
///
/// # Errors
/// A message that says what is wrong.
pub(crate) fn parse(text: &str) -> Result<Chmod, String> {
    let numeric = text.starts_with(|first: char| first.is_ascii_digit());
    if numeric {
        let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        return bits.filter(|bits| *bits <= 0o7777).map(Chmod::Octal).ok_or_else(|| {
            format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        });
    }
    if text.split(',').all(is_clause) {
        Ok(Chmod::Symbolic(text.to_owned()))
    } else {
        Err(format!("invalid chmod parameter: '{text}'. it is neither octal nor like `u=rwX,go=rX`"))
    }
}

/// Returns whether a text is `[ugoa]*` and one or more of `[-+=]` with `[rwxXst]*` or one of `[ugo]`.
fn is_clause(text: &str) -> bool {
    let actions = text.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut rest = actions;
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let Some(permissions) = rest.strip_prefix(['-', '+', '=']) else { return false };
        rest = match permissions.strip_prefix(['u', 'g', 'o']) {
            Some(after) => after,
            None => permissions.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    true
}

//! SecretInValue: what surely is a secret, in any instruction.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::Span;

use super::file::{File, Findings};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "SecretInValue",
    description: "Private keys, tokens and passwords should not be written into a Dockerfile",
    origin: Origin::Castoff,
    level: Level::Error,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/SecretInValue.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        let Some(text) = file.source.get(instruction.span.range()) else { continue };
        let Some((what, range)) = find(text) else { continue };
        let start = instruction.span.start + range.start as u32;
        let span = Span { start, end: instruction.span.start + range.end as u32 };
        // The message must not repeat it.
        let message =
            format!("{what} is written into the Dockerfile, and with it into the image or its history");
        let hint = "give it to the step that needs it: RUN --mount=type=secret,id=ID, and --secret id=ID";
        findings.add_with_hint(place, span, message, hint);
    }
}

/// Starts of tokens, how many letters, digits, `_` or `-` follow at least, and what they are.
const TOKENS: &[(&str, usize, &str)] = &[
    ("ghp_", 36, "A GitHub token"),
    ("gho_", 36, "A GitHub token"),
    ("ghs_", 36, "A GitHub token"),
    ("ghu_", 36, "A GitHub token"),
    ("ghr_", 36, "A GitHub token"),
    ("github_pat_", 60, "A GitHub token"),
    ("glpat-", 20, "A GitLab token"),
    ("npm_", 36, "An npm token"),
    ("pypi-AgEIcHlwaS5vcmc", 50, "A PyPI token"),
    ("xoxb-", 20, "A Slack token"),
    ("xoxp-", 20, "A Slack token"),
    ("sk_live_", 20, "A Stripe key"),
    ("rk_live_", 20, "A Stripe key"),
    ("AIza", 35, "A Google API key"),
    ("dckr_pat_", 20, "A Docker Hub token"),
    ("hf_", 34, "A Hugging Face token"),
];

/// Returns what a text holds that is surely secret, and where.
fn find(text: &str) -> Option<(&'static str, Range<usize>)> {
    if let Some(start) = text.find("-----BEGIN ") {
        let line = text[start..].lines().next().unwrap_or_default();
        if line.contains("PRIVATE KEY-----") {
            return Some(("A private key", start..start + line.len()));
        }
    }
    let tokens = TOKENS.iter().find_map(|(prefix, least, what)| {
        text.match_indices(prefix).find_map(|(start, _)| {
            let tail = &text[start + prefix.len()..];
            let length = tail.find(|c: char| !is_token(c)).unwrap_or(tail.len());
            let begins = !text[..start].ends_with(is_token);
            (begins && length >= *least && is_random(&tail[..length]))
                .then(|| (*what, start..start + prefix.len() + length))
        })
    });
    tokens.or_else(|| access_key(text)).or_else(|| url_password(text))
}

/// The id of an AWS access key: 16 capitals or digits after its prefix.
fn access_key(text: &str) -> Option<(&'static str, Range<usize>)> {
    text.match_indices("AKIA").find_map(|(start, prefix)| {
        let tail = &text[start + prefix.len()..];
        let length =
            tail.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(tail.len());
        let ends = !tail[length..].starts_with(is_token) && !text[..start].ends_with(is_token);
        // The key that all documentation shows.
        (ends && length == 16 && !tail.starts_with("IOSFODNN7EXAMPLE"))
            .then(|| ("An AWS access key", start..start + prefix.len() + length))
    })
}

/// A password between a scheme and a host.
fn url_password(text: &str) -> Option<(&'static str, Range<usize>)> {
    text.match_indices("://").find_map(|(at, _)| {
        let start = at + 3;
        let end =
            text[start..].find(['/', '?', '#', ' ', '\t', '\n', '"', '\'']).unwrap_or(text.len() - start);
        let (user, _host) = text[start..start + end].rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        let literal = !password.is_empty() && !password.contains(['$', '<', '{', '*', '%', '`']);
        let placeholder =
            ["password", "pass", "pw", "secret", "token", "user", "postgres", "root", "example"]
                .iter()
                .any(|word| password.eq_ignore_ascii_case(word));
        let range = start + name.len() + 1..start + user.len();
        (literal && !placeholder && password != name).then_some(("A password in a URL", range))
    })
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Whether a text looks drawn and not written, such as `xxxxxxxx` or `your_token_here` would be.
fn is_random(text: &str) -> bool {
    let kinds: BTreeSet<char> = text.chars().collect();
    kinds.len() >= 8 && text.contains(|c: char| c.is_ascii_digit())
}

//! Names that look as if they held a secret (D-337).

const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a part of the name, between underscores, is a word for a secret, and none says otherwise.
pub(super) fn is_secret(name: &str) -> bool {
    let has =
        |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&SECRET) && !has(&HARMLESS)
}

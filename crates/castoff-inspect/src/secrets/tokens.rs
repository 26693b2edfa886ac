//! Tokens and keys that their form gives away. Each rule has a public source; docs/secrets.md lists them.
//!
//! A rule is about values of which there are no false ones: a prefix that its issuer has for nothing else, and behind it
//! what the issuer says, a checksum included where there is one. What looks like an example is left out.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Nothing beyond so many bytes from the beginning of a prefix is looked at.
pub(super) const LONGEST: usize = 1024;

/// A kind of token.
#[derive(Debug)]
pub struct TokenRule {
    /// Its name, such as `github-token`.
    pub name: &'static str,
    /// What it is, in words.
    pub what: &'static str,
    /// Who says how it looks.
    pub source: &'static str,
    /// With which of these it begins.
    prefixes: &'static [&'static str],
    /// Whether what begins with a prefix of this length is one.
    is_token: fn(&[u8], usize) -> bool,
    /// Whether it is none where tests and documentation are.
    is_in_tests: bool,
}

/// The rules.
pub const TOKEN_RULES: &[TokenRule] = &[
    TokenRule {
        name: "github-token",
        what: "a token of GitHub",
        source: "https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/",
        prefixes: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        is_token: has_checksum,
        is_in_tests: false,
    },
    TokenRule {
        name: "github-fine-grained-token",
        what: "a fine-grained token of GitHub",
        source: "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
        prefixes: &["github_pat_"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let is = |byte: &u8| byte.is_ascii_alphanumeric();
            run(rest, is) == 22
                && rest.get(22) == Some(&b'_')
                && run(&rest[23..], is) == 59
                && is_mixed(&rest[..82])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "gitlab-token",
        what: "a token of GitLab",
        source: "https://docs.gitlab.com/security/tokens/#token-prefixes",
        prefixes: &["glpat-", "gldt-", "glrt-"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let length = run(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
            (20..=300).contains(&length) && is_mixed(&rest[..length])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "aws-access-key",
        what: "an access key of AWS with its secret",
        source: "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
        prefixes: &["AKIA"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let is_id = run(rest, |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) == 16;
            is_id && !rest[..16].ends_with(b"EXAMPLE") && secret_key_is_near(&rest[16..])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "slack-token",
        what: "a token of Slack",
        source: "https://docs.slack.dev/authentication/tokens/",
        prefixes: &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let length = run(rest, |byte| byte.is_ascii_alphanumeric() || *byte == b'-');
            (40..=250).contains(&length)
                && run(rest, u8::is_ascii_digit) >= 9
                && is_mixed(rest[..length].rsplit(|byte| *byte == b'-').next().unwrap_or_default())
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "npm-token",
        what: "a token of npm",
        source: "https://github.blog/2021-09-23-announcing-npms-new-access-token-format/",
        prefixes: &["npm_"],
        is_token: has_checksum,
        is_in_tests: false,
    },
    TokenRule {
        name: "pypi-token",
        what: "a token of PyPI",
        source: "https://docs.pypi.org/api/secrets/",
        // The beginning of every macaroon of pypi.org and of test.pypi.org.
        prefixes: &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let length = run(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            length >= 50 && is_mixed(&rest[..length])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "stripe-live-key",
        what: "a live key of Stripe",
        source: "https://docs.stripe.com/keys",
        prefixes: &["sk_live_", "rk_live_"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let length = run(rest, u8::is_ascii_alphanumeric);
            (24..=250).contains(&length) && is_mixed(&rest[..length])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "google-api-key",
        what: "an API key of Google",
        source: "https://cloud.google.com/docs/authentication/api-keys",
        prefixes: &["AIza"],
        is_token: |text, prefix| {
            let rest = &text[prefix..];
            let is = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            run(rest, is) == 35 && is_mixed(&rest[..35])
        },
        is_in_tests: false,
    },
    TokenRule {
        name: "private-key",
        what: "a private key that no password protects",
        source: "https://www.rfc-editor.org/rfc/rfc7468",
        prefixes: &[
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----",
            "-----BEGIN DSA PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ],
        is_token: is_private_key,
        is_in_tests: true,
    },
    TokenRule {
        name: "docker-config",
        what: "a password of a registry, in docker's config",
        source: "https://docs.docker.com/reference/cli/docker/login/#credential-stores",
        prefixes: &["\"auths\""],
        is_token: has_password_of_registry,
        is_in_tests: false,
    },
];

/// Rules, ready to be looked for.
pub(super) struct Tokens {
    prefixes: AhoCorasick,
    /// The rule of each prefix, by its place.
    rules: Vec<usize>,
}

impl Tokens {
    pub(super) fn new() -> Tokens {
        let all = TOKEN_RULES.iter().enumerate();
        let (rules, prefixes): (Vec<usize>, Vec<&str>) =
            all.flat_map(|(place, rule)| rule.prefixes.iter().map(move |prefix| (place, *prefix))).unzip();
        // No prefix is the beginning of another, and leftmost matches are those that vector instructions find.
        let prefixes = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(prefixes)
            .expect("a few short prefixes are not too many");
        Tokens { prefixes, rules }
    }

    /// Calls `hit` with the place of the rule of each token in `text`. One that begins within the last [`LONGEST`] bytes
    /// is left for the next call, unless this is the last.
    pub(super) fn each(&self, text: &[u8], is_last: bool, hit: &mut dyn FnMut(usize)) {
        for found in self.prefixes.find_iter(text) {
            let rest = &text[found.start()..];
            let is_word = found.start() > 0 && is_of_word(text[found.start() - 1]) && is_of_word(rest[0]);
            if is_word || (!is_last && rest.len() < LONGEST) {
                continue;
            }
            let rule = self.rules[found.pattern().as_usize()];
            if (TOKEN_RULES[rule].is_token)(&rest[..rest.len().min(LONGEST)], found.len()) {
                hit(rule);
            }
        }
    }
}

impl TokenRule {
    /// Returns whether the rule holds for a file.
    pub(super) fn is_for(&self, path: &str) -> bool {
        const TESTS: [&str; 13] = [
            "test",
            "tests",
            "testing",
            "testdata",
            "test-data",
            "__tests__",
            "fixtures",
            "spec",
            "example",
            "examples",
            "doc",
            "docs",
            "demos",
        ];
        // GnuTLS tests itself when it is loaded, with keys that everybody has.
        let is_gnutls = |name: &str| name == "libgnutls.so" || name.starts_with("libgnutls.so.");
        let brings_test_keys = |name: &str| TESTS.contains(&name.trim_end_matches('!')) || is_gnutls(name);
        !self.is_in_tests || !path.split('/').any(brings_test_keys)
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns how many bytes at the beginning are of a kind.
fn run(text: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    text.iter().position(|byte| !is(byte)).unwrap_or(text.len())
}

/// Whether it is as random as tokens are: letters and digits, and no letter too often, as in `xxxx`.
fn is_mixed(text: &[u8]) -> bool {
    let mut counts = [0usize; 256];
    text.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let different = counts.iter().filter(|count| **count > 0).count();
    text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
        && different >= text.len().min(24) / 2
        && counts.iter().all(|count| count * 4 <= text.len() + 8)
}

/// Thirty letters and digits, and their CRC-32 in six digits of base 62.
fn has_checksum(text: &[u8], prefix: usize) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let rest = &text[prefix..];
    if run(rest, u8::is_ascii_alphanumeric) != 36 {
        return false;
    }
    let (random, checksum) = rest[..36].split_at(30);
    let mut crc = flate2::Crc::new();
    crc.update(random);
    let mut left = crc.sum();
    let mut expected = [b'0'; 6];
    for digit in expected.iter_mut().rev() {
        *digit = DIGITS[(left % 62) as usize];
        left /= 62;
    }
    checksum == expected
}

/// Whether forty letters, digits, `/` and `+` follow, which are not an example.
fn secret_key_is_near(text: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let mut rest = &text[..text.len().min(400)];
    while !rest.is_empty() {
        let length = run(rest, is);
        let word = &rest[..length];
        let has_capitals = word.iter().any(u8::is_ascii_uppercase) && word.iter().any(u8::is_ascii_lowercase);
        if length == 40 && has_capitals && is_mixed(word) && !word.ends_with(b"EXAMPLEKEY") {
            return true;
        }
        rest = &rest[(length + 1).min(rest.len())..];
    }
    false
}

/// Whether lines of base64 follow, or such lines within a JSON string, and no header of an encrypted key.
fn is_private_key(text: &[u8], prefix: usize) -> bool {
    let mut rest = &text[prefix..];
    let mut lines = 0;
    while let Some(next) = [&b"\r\n"[..], b"\n", b"\\n"].iter().find_map(|end| rest.strip_prefix(*end)) {
        let length = run(next, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='));
        let line = &next[..length];
        // OpenSSH says `none` where others have a cipher: "openssh-key-v1\0", length 4, "none".
        let is_openssh = line.starts_with(b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmU");
        let is_encrypted = !is_openssh && line.starts_with(b"b3BlbnNzaC1rZXktdjEA");
        if lines == 0 && (length < 40 || is_encrypted || !(is_openssh || is_mixed(line))) {
            return false;
        }
        if length == 0 {
            break;
        }
        lines += 1;
        rest = &next[length..];
    }
    lines > 0
}

/// Whether a member `auth` follows that is a user and a password.
fn has_password_of_registry(text: &[u8], prefix: usize) -> bool {
    let mut rest = &text[prefix..];
    while let Some(place) = rest.windows(6).position(|window| window == b"\"auth\"") {
        rest = &rest[place + 6..];
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let Some(value) = value.and_then(|value| value.strip_prefix(b"\"")) else { continue };
        let value = &value[..run(value, |byte| *byte != b'"')];
        let decoded = STANDARD.decode(value).unwrap_or_default();
        let mut parts = decoded.splitn(2, |byte| *byte == b':');
        if let (Some(user), Some(password)) = (parts.next(), parts.next())
            && !user.is_empty()
            && !password.is_empty()
            && !matches!(password, b"password" | b"pass" | b"bar" | b"secret")
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        Tokens::new().each(text.as_bytes(), true, &mut |rule| found.push(TOKEN_RULES[rule].name));
        found
    }

    /// The texts are put together here, so that no scanner takes this file for a leak.
    fn joined(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn tokens_are_known_by_their_form() {
        let check = |parts: &[&str], expected: &str| {
            let text = joined(parts);
            assert_eq!(found(&text), [expected], "{text}");
            assert_eq!(found(&format!("x=\"{text}\";\n")), [expected], "{text}");
        };
        // The example of the format with its checksum.
        check(&["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"], "github-token");
        check(&["np", "m_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"], "npm-token");
        let random = "Zk3qT8vB1nR6xW0yLs7Pd5Gm2Jc9HfAeUi4oKtXzQwErYbNVhD6S7aF8g1M";
        check(&["github", "_pat_11ABCDEFG0a1b2C3d4E5f6_", random], "github-fine-grained-token");
        check(&["gl", "pat-x9Kq2pLm4Zt7Wv1RbN8s"], "gitlab-token");
        check(
            &["AK", "IAQ7ZX2M5T3BVW4KLD\",\n  \"secret\": \"q8Zx1+Tn/5VbR7wKc3LmYp0GdJ6sHfAeUi4oE2Xt"],
            "aws-access-key",
        );
        check(&["xo", "xb-123456789012-1234567890123-x9Kq2pLm4Zt7Wv1RbN8sQ3Yd"], "slack-token");
        check(&["pypi", "-AgEIcHlwaS5vcmc", random, "q8Zx"], "pypi-token");
        check(&["sk", "_live_x9Kq2pLm4Zt7Wv1RbN8sQ3Yd"], "stripe-live-key");
        check(&["AI", "zaSyD4x9Kq2pLm4Zt7Wv1RbN8sQ3Yd_-Hg5Fj"], "google-api-key");
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq8Zx1Tn5VbR7wKc3";
        check(&["-----BEGIN ", "PRIVATE KEY-----\n", line, "\n", line, "\n"], "private-key");
        check(&["-----BEGIN ", "PRIVATE KEY-----\\n", line, "\\n"], "private-key");
        let openssh = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        check(&["-----BEGIN ", "OPENSSH PRIVATE KEY-----\n", openssh, "\n", line, "\n"], "private-key");
        check(
            &["{\"au", "ths\": {\"registry.example.com\": {\"auth\": \"cm9ib3Q6eDlLcTJw\"}}}"],
            "docker-config",
        );
    }

    #[test]
    fn what_only_looks_like_a_token_is_none() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq8Zx1Tn5VbR7wKc3";
        let encrypted = "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABC8";
        for parts in [
            &["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18"][..],
            &["gh", "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
            &["a_gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"],
            &["gl", "pat-xxxxxxxxxxxxxxxxxxxx"],
            &["gl", "pat-short"],
            &["AK", "IAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
            &["AK", "IAQ7ZX2M5T3BVW4KLD"],
            &["xo", "xb-not-a-real-token-but-a-very-long-example-text-of-docs"],
            &["sk", "_live_aaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
            &["AI", "zaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
            &["-----BEGIN ", "PRIVATE KEY-----"],
            &["-----BEGIN ", "PRIVATE KEY-----\n...\n"],
            &["-----BEGIN ", "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n", line],
            &["-----BEGIN ", "ENCRYPTED PRIVATE KEY-----\n", line],
            &["-----BEGIN ", "OPENSSH PRIVATE KEY-----\n", encrypted],
            &["{\"au", "ths\": {\"registry.example.com\": {}}, \"credsStore\": \"pass\"}"],
            &["{\"au", "ths\": {\"r\": {\"auth\": \"\"}}}"],
        ] {
            assert_eq!(found(&joined(parts)), Vec::<&str>::new(), "{parts:?}");
        }
    }

    /// Distributions and libraries bring keys for their tests.
    #[test]
    fn keys_of_tests_are_left_out() {
        let rule = TOKEN_RULES.iter().find(|rule| rule.name == "private-key").unwrap();
        assert!(rule.is_for("/etc/ssl/private/server.key"));
        assert!(!rule.is_for("/usr/lib/python3/dist-packages/tornado/test/test.key"));
        assert!(!rule.is_for("/usr/share/doc/openssl/key.pem"));
        assert!(!rule.is_for("/usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3"));
        assert!(rule.is_for("/app/libgnutls.sofa"));
        assert!(!rule.is_for("/app/lib.jar!/testdata/key.pem"));
        assert!(TOKEN_RULES[0].is_for("/app/test/key.pem"));
    }

    #[test]
    fn a_token_at_the_end_is_left_for_the_next_call() {
        let text = joined(&["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"]);
        let mut hits = 0;
        Tokens::new().each(text.as_bytes(), false, &mut |_| hits += 1);
        assert_eq!(hits, 0);
        Tokens::new().each(&[text.as_bytes(), &[b' '; LONGEST]].concat(), false, &mut |_| hits += 1);
        assert_eq!(hits, 1);
    }
}

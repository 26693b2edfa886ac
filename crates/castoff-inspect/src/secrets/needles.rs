//! From the value of a secret to the byte strings that give it away.
//!
//! The value as a whole is looked for, without white space at its ends. Of values that are files with more than a
//! token in them (`.npmrc`, `.netrc`, keys, JSON), the words that look like tokens are looked for, too, so that a
//! copy of the token alone is found, and a line that is no secret, like an address, may be anywhere.

use std::collections::HashMap;
use std::fmt;

use super::encode::{self, Encoding};
use super::search::Search;

/// Shorter values are in files by chance, so nothing can be proved of them.
pub const LEAST: usize = 6;

/// Values of letters of one case are words below this length.
const WORD: usize = 12;

/// Words of a value that are looked for by themselves, at most.
const PARTS: usize = 256;

/// Longer needles are looked for by their beginnings.
const LONGEST: usize = 4096;

/// Longer words are not looked for in base64 that is cut into lines.
const CUT: usize = 1024;

/// Digits of base64 that are looked for where lines cut it, and how far these pieces are apart. Lines have at least 64
/// digits, so one end of a cut is long enough for several.
const PIECE: usize = 16;
const STRIDE: usize = 8;

/// Which part of a secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of it, but for white space at its ends.
    Whole,
    /// A token in this line, from 1.
    Line(u32),
}

/// What a needle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) secret: u32,
    pub(super) part: Part,
    pub(super) encoding: Encoding,
    /// The group of which it is a piece: a piece alone proves nothing.
    pub(super) group: Option<u32>,
}

/// The byte strings that give secrets away.
pub struct Needles {
    ids: Vec<String>,
    too_short: Vec<String>,
    origins: Vec<Origin>,
    /// How many pieces each group has.
    groups: Vec<u32>,
    pub(super) search: Search,
}

impl fmt::Debug for Needles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = (&self.ids, &self.too_short);
        formatter.debug_struct("Needles").field("ids", &ids).finish_non_exhaustive()
    }
}

impl Needles {
    /// Returns the needles of secrets, which have ids.
    pub fn of<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Needles {
        let mut making = Making::default();
        let (mut ids, mut too_short) = (Vec::new(), Vec::new());
        for (id, value) in secrets {
            let whole = value.trim_ascii();
            if !is_provable(whole) {
                too_short.push(id.to_owned());
                continue;
            }
            let secret = ids.len() as u32;
            ids.push(id.to_owned());
            making.add(secret, Part::Whole, whole);
            let words = words(whole).into_iter().filter(|(_, word)| looks_like_a_token(word));
            for (line, word) in words.take(PARTS) {
                making.add(secret, Part::Line(line), word);
                making.add_pieces(secret, if word == whole { Part::Whole } else { Part::Line(line) }, word);
            }
        }
        let Making { needles, origins, groups, .. } = making;
        Needles { ids, too_short, origins, groups, search: Search::new(needles) }
    }

    /// Returns the ids of the secrets that are looked for.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Returns the ids of those that are too short, or too plain, to say anything about: below [`LEAST`] bytes, of
    /// fewer than four different bytes, or a word.
    pub fn too_short(&self) -> &[String] {
        &self.too_short
    }

    pub(super) fn origin(&self, needle: usize) -> Origin {
        self.origins[needle]
    }

    /// Returns whether this many pieces of a group show that it was there: half of them, and two.
    pub(super) fn is_enough(&self, group: u32, pieces: u32) -> bool {
        pieces >= 2 && pieces * 2 >= self.groups[group as usize]
    }

    /// Replaces all secrets in a text by asterisks.
    pub fn redact(&self, text: &[u8]) -> Vec<u8> {
        let mut secret = vec![false; text.len()];
        self.search.each(text, &mut |needle, start| {
            let length = self.search.length(needle);
            secret[start..start + length].fill(true);
        });
        let mut shown = Vec::with_capacity(text.len());
        for (place, byte) in text.iter().enumerate() {
            match (secret[place], place > 0 && secret[place - 1]) {
                (false, _) => shown.push(*byte),
                (true, true) => {}
                (true, false) => shown.extend_from_slice(b"*****"),
            }
        }
        shown
    }
}

#[derive(Default)]
struct Making {
    needles: Vec<Vec<u8>>,
    origins: Vec<Origin>,
    known: HashMap<Vec<u8>, usize>,
    groups: Vec<u32>,
}

impl Making {
    fn add(&mut self, secret: u32, part: Part, value: &[u8]) {
        for (encoding, bytes) in encode::forms(value) {
            self.push(bytes, Origin { secret, part, encoding, group: None });
        }
    }

    /// Adds pieces of base64, for where lines cut it.
    fn add_pieces(&mut self, secret: u32, part: Part, value: &[u8]) {
        if value.len() > CUT {
            return;
        }
        for alignment in 0..3 {
            for url in [false, true] {
                let encoded = encode::base64(value, alignment, url);
                if encoded.len() < PIECE + STRIDE {
                    continue;
                }
                let group = self.groups.len() as u32;
                let before = self.needles.len();
                for piece in encoded.windows(PIECE).step_by(STRIDE) {
                    let group = Some(group);
                    self.push(piece.to_vec(), Origin { secret, part, encoding: Encoding::Base64, group });
                }
                self.groups.push((self.needles.len() - before) as u32);
            }
        }
    }

    /// The first to give a needle has it.
    fn push(&mut self, mut bytes: Vec<u8>, origin: Origin) {
        bytes.truncate(LONGEST);
        if bytes.len() < LEAST || self.known.contains_key(&bytes) {
            return;
        }
        self.known.insert(bytes.clone(), self.needles.len());
        self.needles.push(bytes);
        self.origins.push(origin);
    }
}

/// Whether a find of a value could not be chance.
fn is_provable(value: &[u8]) -> bool {
    let mut different = [false; 256];
    value.iter().for_each(|byte| different[usize::from(*byte)] = true);
    let different = different.iter().filter(|is_there| **is_there).count();
    let one_case = value.iter().all(u8::is_ascii_lowercase) || value.iter().all(u8::is_ascii_uppercase);
    value.len() >= LEAST && different >= 4 && !(one_case && value.len() < WORD)
}

/// Returns the words of a value with their lines, from 1. What is in a certificate or a public key is no secret.
fn words(value: &[u8]) -> Vec<(u32, &[u8])> {
    let mut words = Vec::new();
    let mut public = false;
    let mut begun = false;
    for (place, line) in value.split(|byte| *byte == b'\n').enumerate() {
        let has = |text: &[u8]| line.windows(text.len()).any(|window| window == text);
        if has(b"-----BEGIN ") && !has(b"-----END ") {
            public = has(b"CERTIFICATE") || has(b"PUBLIC KEY");
            // The first line of a key of OpenSSH is the same in many.
            begun = has(b"OPENSSH");
            continue;
        }
        if has(b"-----END ") && !has(b"-----BEGIN ") {
            public = false;
        }
        if !public && !std::mem::take(&mut begun) {
            let number = place as u32 + 1;
            words.extend(split(line).into_iter().map(|word| (number, word)));
        }
    }
    words
}

/// Splits a line where no token has a letter. Escapes of line ends, as JSON has them, are such places, too.
fn split(line: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut place = 0;
    while place < line.len() {
        let next = line.get(place + 1);
        let width = match line[place] {
            b'\\' if matches!(next, Some(b'n' | b'r' | b't')) => 2,
            byte if byte.is_ascii_whitespace() || b"\\\"'`,;:=@()[]{}<>|&?".contains(&byte) => 1,
            _ => 0,
        };
        if width > 0 {
            words.push(&line[start..place]);
            start = place + width;
        }
        place += width.max(1);
    }
    words.push(line.get(start..).unwrap_or_default());
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a word is long and random enough to be a token: twelve letters and digits or more, of both, that change
/// between small letters, capitals and digits as names do not.
fn looks_like_a_token(word: &[u8]) -> bool {
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Small,
        Capital,
        Digit,
        Other,
    }
    let classes = word.iter().map(|byte| match byte {
        b'a'..=b'z' => Class::Small,
        b'A'..=b'Z' => Class::Capital,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Other,
    });
    let (mut digits, mut letters, mut changes) = (0u32, 0u32, 0u32);
    let mut before = Class::Other;
    for class in classes {
        match class {
            Class::Digit => digits += 1,
            Class::Small | Class::Capital => letters += 1,
            Class::Other => {}
        }
        // A capital begins a word of a name.
        let is_change = class != before && class != Class::Other && before != Class::Other;
        changes += u32::from(is_change && (before, class) != (Class::Capital, Class::Small));
        before = class;
    }
    digits > 0 && letters > 0 && digits + letters >= 12 && changes * 4 >= digits + letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(value: &str) -> Vec<(u32, String)> {
        let words = words(value.as_bytes()).into_iter().filter(|(_, word)| looks_like_a_token(word));
        words.map(|(line, word)| (line, String::from_utf8_lossy(word).into_owned())).collect()
    }

    /// The rule of docs/secrets.md: tokens are looked for by themselves, addresses and names are not.
    #[test]
    fn tokens_of_files_are_known_from_the_rest() {
        let npmrc = "@acme:registry=https://npm.pkg.example.com/api/v4/projects/1234/packages/npm/\n\
                     //npm.pkg.example.com/:_authToken=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\n\
                     always-auth=true\nstrict-ssl=true\n";
        assert_eq!(tokens(npmrc), [(2, "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".to_owned())]);
        let netrc = "machine git2.example.com\n login build-robot-01\n password 5f1e0c9ab7d24c3386e1\n";
        assert_eq!(tokens(netrc), [(3, "5f1e0c9ab7d24c3386e1".to_owned())]);
        let json = r#"{"type": "service_account", "project_id": "my-project-123456",
            "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEAAoIBAQDb7n3QZ\n-----END PRIVATE KEY-----\n",
            "client_email": "robot@my-project-123456.iam.gserviceaccount.com", "client_id": "115934567890123456789",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth"}"#;
        // The first line of a key is the same in others, too.
        assert_eq!(tokens(json), [(2, "ggSjAgEAAoIBAQDb7n3QZ".to_owned())]);
        let address = "postgres://app:S3cr3tPa55w0rdX9@db.example.com:5432/prod";
        assert_eq!(tokens(address), [(1, "S3cr3tPa55w0rdX9".to_owned())]);
        let names = "getUserById libx11-xcb1 python3.12-minimal 20260101T000000Z v1.2.3-rc4";
        assert_eq!(tokens(names).len(), 0);
    }

    /// A bundle of certificates with a key: the certificates may be anywhere.
    #[test]
    fn certificates_are_no_secrets() {
        let key = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUE5Q0k3Zz8XhQ\n-----END CERTIFICATE-----\n\
                   -----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB4c9d8f7a6b5c4d3e2f1a0B\n-----END EC PRIVATE KEY-----\n";
        assert_eq!(tokens(key), [(5, "MHcCAQEEIB4c9d8f7a6b5c4d3e2f1a0B".to_owned())]);
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\nQyNTUxOQAAACB1c2VyQGhv5\n";
        assert_eq!(tokens(key), [(3, "QyNTUxOQAAACB1c2VyQGhv5".to_owned())]);
    }

    #[test]
    fn what_is_short_or_a_word_cannot_be_proved() {
        for plain in ["", "  \n", "abc12", "aaaaaaaaaaaa", "password", "CHANGEME", "1212121212"] {
            let needles = Needles::of([("s", plain.as_bytes())]);
            assert_eq!((needles.ids().len(), needles.too_short()), (0, &["s".to_owned()][..]), "{plain}");
        }
        for proper in ["hunter22", " x9Kq2p\n", "correcthorsebatterystaple"] {
            assert_eq!(Needles::of([("s", proper.as_bytes())]).ids(), ["s"], "{proper}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let needles = Needles::of([("s", &b"hunter22"[..])]);
        assert!(!format!("{needles:?}").contains("hunter22"));
        assert_eq!(needles.redact(b"/a/hunter22/68756e7465723232.txt"), b"/a/*****/*****.txt");
        assert_eq!(needles.redact(b"hunter22hunter22"), b"*****");
    }
}

//! The forms in which the bytes of a secret leak.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How a secret is written where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Base64, alone or as a part of something longer, in the standard or the URL alphabet, also in lines.
    Base64,
    /// Hexadecimal digits.
    Hex,
    /// Percent escapes of URLs and forms.
    Url,
    /// Escapes of JSON strings.
    Json,
    /// UTF-16 of either byte order.
    Utf16,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Encoding; 6] =
        [Encoding::Raw, Encoding::Base64, Encoding::Hex, Encoding::Url, Encoding::Json, Encoding::Utf16];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Raw => "plain",
            Encoding::Base64 => "base64",
            Encoding::Hex => "hex",
            Encoding::Url => "url-escaped",
            Encoding::Json => "json-escaped",
            Encoding::Utf16 => "utf-16",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Returns all forms of a value, some of which may be the same.
pub(super) fn forms(value: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
    let mut forms = vec![(Encoding::Raw, value.to_vec())];
    let mut add = |encoding, bytes| forms.push((encoding, bytes));
    for alignment in 0..3 {
        for url in [false, true] {
            add(Encoding::Base64, base64(value, alignment, url));
        }
    }
    let lower = hex(value, b"0123456789abcdef");
    add(Encoding::Hex, lower.to_ascii_uppercase());
    add(Encoding::Hex, lower);
    // What RFC 3986 lets stand, and what more encodeURIComponent and Python's quote do; in forms a blank is a plus.
    for (more, blank) in
        [("", "%20"), ("", "+"), ("/", "%20"), ("!'()*", "%20"), (":/?#[]@!$&'()*+,;=", "%20")]
    {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            add(Encoding::Url, url(value, more.as_bytes(), blank.as_bytes(), digits));
        }
    }
    for options in [
        JsonOptions { ascii: false, html: false, slash: false },
        JsonOptions { ascii: true, html: false, slash: false },
        JsonOptions { ascii: false, html: true, slash: false },
        JsonOptions { ascii: true, html: false, slash: true },
    ] {
        add(Encoding::Json, json(value, options));
    }
    let units: Vec<u16> = match std::str::from_utf8(value) {
        Ok(text) => text.encode_utf16().collect(),
        Err(_) => value.iter().map(|byte| u16::from(*byte)).collect(),
    };
    add(Encoding::Utf16, units.iter().flat_map(|unit| unit.to_le_bytes()).collect());
    add(Encoding::Utf16, units.iter().flat_map(|unit| unit.to_be_bytes()).collect());
    forms
}

/// Returns the digits of base64 that depend on the value alone when `alignment` other bytes, modulo three, are
/// before it, whatever is before and behind.
pub(super) fn base64(value: &[u8], alignment: usize, url: bool) -> Vec<u8> {
    let padded = [&b"\0\0"[..alignment], value].concat();
    let encoded = if url { URL_SAFE_NO_PAD.encode(&padded) } else { STANDARD_NO_PAD.encode(&padded) };
    let first = [0, 2, 3][alignment];
    let last = encoded.len() - usize::from(padded.len() % 3 != 0);
    encoded.as_bytes()[first.min(last)..last].to_vec()
}

fn hex(value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    value.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

fn url(value: &[u8], more: &[u8], blank: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'-' | b'.' | b'_' | b'~' => escaped.push(*byte),
            byte if byte.is_ascii_alphanumeric() || more.contains(byte) => escaped.push(*byte),
            b' ' => escaped.extend_from_slice(blank),
            byte => {
                escaped.push(b'%');
                escaped.extend(hex(&[*byte], digits));
            }
        }
    }
    escaped
}

#[derive(Clone, Copy)]
struct JsonOptions {
    /// Whether only ASCII is left, as Python does.
    ascii: bool,
    /// Whether `<`, `>` and `&` are escaped, as Go does.
    html: bool,
    /// Whether slashes are escaped, as PHP does.
    slash: bool,
}

fn json(value: &[u8], options: JsonOptions) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    let unit = |escaped: &mut Vec<u8>, unit: u16| escaped.extend(format!("\\u{unit:04x}").bytes());
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => escaped.extend(b"\\\""),
                '\\' => escaped.extend(b"\\\\"),
                '\n' => escaped.extend(b"\\n"),
                '\r' => escaped.extend(b"\\r"),
                '\t' => escaped.extend(b"\\t"),
                '\u{8}' => escaped.extend(b"\\b"),
                '\u{c}' => escaped.extend(b"\\f"),
                '/' if options.slash => escaped.extend(b"\\/"),
                '<' | '>' | '&' if options.html => unit(&mut escaped, letter as u16),
                '\0'..='\u{1f}' => unit(&mut escaped, letter as u16),
                '\0'..='\u{7f}' => escaped.push(letter as u8),
                _ if options.ascii => {
                    letter.encode_utf16(&mut [0; 2]).iter().for_each(|half| unit(&mut escaped, *half));
                }
                _ => escaped.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        escaped.extend(chunk.invalid());
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, encoding: Encoding, expected: &str) {
        let forms = forms(value.as_bytes());
        let found = forms.iter().any(|(of, bytes)| *of == encoding && bytes == expected.as_bytes());
        assert!(found, "{expected} is not among the forms of {value}");
    }

    #[test]
    fn forms_are_those_that_programs_write() {
        check("pass/w rd+\"1", Encoding::Url, "pass%2Fw%20rd%2B%221");
        check("pass/w rd+\"1", Encoding::Url, "pass%2fw+rd%2b%221");
        check("pass/w rd+\"1", Encoding::Url, "pass/w%20rd%2B%221");
        check("a<\"\\\n\u{1}\u{e9}/", Encoding::Json, "a<\\\"\\\\\\n\\u0001\u{e9}/");
        check("a<\"\\\n\u{1}\u{e9}/", Encoding::Json, "a<\\\"\\\\\\n\\u0001\\u00e9\\/");
        check("a<\"\\\n\u{1}\u{e9}/", Encoding::Json, "a\\u003c\\\"\\\\\\n\\u0001\u{e9}/");
        check("ab", Encoding::Utf16, "a\0b\0");
        check("ab", Encoding::Utf16, "\0a\0b");
        check("k/~", Encoding::Hex, "6b2f7e");
        check("k/~", Encoding::Hex, "6B2F7E");
    }

    /// What is before and behind a value does not matter.
    #[test]
    fn base64_has_the_digits_that_are_the_values_own() {
        let value = b"s3cr3t+/value?>";
        for before in 0..7 {
            for behind in 0..4 {
                let text = [&b"xyzxyzx"[..before], value, &b"\xff\x00\x80\x11"[..behind]].concat();
                for (url, encoded) in
                    [(false, STANDARD_NO_PAD.encode(&text)), (true, URL_SAFE_NO_PAD.encode(&text))]
                {
                    let needle = base64(value, before % 3, url);
                    let encoded = encoded.as_bytes();
                    assert!(
                        encoded.windows(needle.len()).any(|window| window == needle),
                        "{before} {behind}"
                    );
                    assert!(needle.len() >= (value.len() * 8 - 10) / 6);
                }
            }
        }
    }
}

//! The head of an instruction: keyword and flags (section 3).

use std::ops::Range;

use crate::scope::{Scope, shown};
use crate::words::{BLANKS, trim};
use crate::{Spanned, suggest};

/// An instruction split into its parts. Ranges are in the joined line.
#[derive(Debug)]
pub(crate) struct Head {
    /// The keyword.
    pub keyword: Range<usize>,
    /// Everything after the keyword, without white space around it.
    pub rest: Range<usize>,
    /// Flag words.
    pub flags: Vec<FlagWord>,
    /// What follows the flags, without white space around it.
    pub arguments: Range<usize>,
}

/// A word that starts with `--`, its quotes removed (D-033).
#[derive(Debug)]
pub(crate) struct FlagWord {
    /// The word.
    text: String,
    /// Its place.
    range: Range<usize>,
    /// Where the value starts.
    value: Option<usize>,
    /// Whether a quote was not closed.
    unbalanced: bool,
}

impl Head {
    /// Whether a quote in a flag was not closed, so that the flag took the rest of the line.
    pub fn is_unbalanced(&self) -> bool {
        self.flags.iter().any(|flag| flag.unbalanced)
    }
}

impl FlagWord {
    /// Returns its place.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// Splits an instruction that has no white space around it.
pub(crate) fn split_head(text: &str, range: Range<usize>, escape: char) -> Head {
    let length = text[range.clone()].find(BLANKS).unwrap_or(range.len());
    let keyword = range.start..range.start + length;
    let rest = trim(text, keyword.end..range.end);
    let mut flags = Vec::new();
    let mut arguments = rest.clone();
    while text[arguments.clone()].starts_with("--") {
        let word = flag_word(text, arguments.clone(), escape);
        arguments = trim(text, word.range.end..rest.end);
        // A lone `--` ends the flags (D-032).
        if word.text == "--" {
            break;
        }
        flags.push(word);
    }
    Head { keyword, rest, flags, arguments }
}

fn flag_word(text: &str, range: Range<usize>, escape: char) -> FlagWord {
    let mut word = FlagWord { text: String::new(), range: range.clone(), value: None, unbalanced: false };
    let mut quote = None;
    let mut chars = text[range.clone()].char_indices();
    while let Some((at, mut c)) = chars.next() {
        match quote {
            Some(open) if c == open => {
                quote = None;
                continue;
            }
            None if c.is_whitespace() => {
                word.range.end = range.start + at;
                break;
            }
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                continue;
            }
            Some(_) | None => {}
        }
        if c == escape {
            match chars.next() {
                Some((_, escaped)) => c = escaped,
                None => break,
            }
        }
        if c == '=' && word.value.is_none() {
            word.value = Some(range.end - chars.as_str().len());
        }
        word.text.push(c);
    }
    word.unbalanced = quote.is_some();
    word
}

/// What may follow a flag's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// Nothing, `=true` or `=false` (D-034).
    Switch,
    /// A value (D-035).
    Value,
    /// A value; the flag may be repeated (D-036).
    List,
}

/// The flags of an instruction, checked.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: Vec<(&'static str, Spanned<String>)>,
}

impl Flags {
    /// Returns the value of a flag.
    pub fn value(&self, name: &str) -> Option<Spanned<String>> {
        self.list(name).into_iter().next()
    }

    /// Returns the values of a flag that may be repeated.
    pub fn list(&self, name: &str) -> Vec<Spanned<String>> {
        self.values.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns the state of a switch.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value.value == "true")
    }
}

/// Checks flags against those an instruction has. Returns `None` after reporting errors.
pub(crate) fn check_flags(
    scope: &mut Scope<'_>,
    words: &[FlagWord],
    allowed: &[(&'static str, FlagKind)],
) -> Option<Flags> {
    let mut flags = Flags::default();
    let mut sound = true;
    for word in words {
        match check_flag(&flags, word, allowed) {
            Ok((name, value)) => {
                let range = word.value.unwrap_or(word.range.start)..word.range.end;
                flags.values.push((name, Spanned { value, span: scope.span(range) }));
            }
            Err(message) => {
                sound = false;
                scope.error(word.range.clone(), message);
            }
        }
    }
    sound.then_some(flags)
}

fn check_flag(
    seen: &Flags,
    word: &FlagWord,
    allowed: &[(&'static str, FlagKind)],
) -> Result<(&'static str, String), String> {
    let body = word.text.strip_prefix("--").unwrap_or(&word.text);
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let display = shown(name);
    let Some((name, kind)) = allowed.iter().copied().find(|(allowed, _)| *allowed == name) else {
        let nearest = suggest(name, allowed.iter().map(|(name, _)| *name));
        let guess = nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
        return Err(format!("unknown flag: --{display}{guess}"));
    };
    if word.unbalanced {
        return Err(format!("quote not closed in flag: --{display}"));
    }
    if kind != FlagKind::List && seen.value(name).is_some() {
        return Err(format!("duplicate flag specified: --{display}"));
    }
    match (kind, value) {
        (FlagKind::Switch, None) => Ok((name, "true".to_owned())),
        (FlagKind::Switch, Some(value)) => match value.to_ascii_lowercase().as_str() {
            value @ ("true" | "false") => Ok((name, value.to_owned())),
            _ => Err(format!("expecting boolean value for flag --{display}, not: {}", shown(value))),
        },
        (FlagKind::Value | FlagKind::List, Some(value)) => Ok((name, value.to_owned())),
        (FlagKind::Value | FlagKind::List, None) => Err(format!("missing a value on flag: --{display}")),
    }
}

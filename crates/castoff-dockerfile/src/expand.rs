//! Word expansion (section 5): variables, operators, quotes and escapes.
//!
//! Where this differs from BuildKit: text that comes out of a variable is never read as a pattern
//! of a regular expression (D-074), and a name that has a default is not reported as unset.

mod pattern;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::CharIndices;

use pattern::Pattern;

/// Deepest nesting of `${...}` in each other.
const DEEPEST: usize = 100;

/// Most text that variables may put into one word, in bytes. Variables that double in every line would
/// otherwise fill the memory; no process can be given one that is longer than 128 KiB.
const LONGEST: usize = 1 << 20;

/// How a word is expanded.
#[derive(Clone, Copy)]
pub struct ExpandOptions<'a> {
    /// The escape character.
    pub escape: char,
    /// Returns the value of a variable, or `None` when it is not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether quotes are processed; off inside here-document bodies (D-054).
    pub quotes: bool,
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Names that were used and not set, in order, each once (D-080).
    pub unset: Vec<String>,
}

/// A word that was expanded and then split at blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedWords {
    /// The words; none is empty.
    pub words: Vec<String>,
    /// Names that were used and not set, in order, each once (D-080).
    pub unset: Vec<String>,
}

/// Why a word cannot be expanded. Offsets are bytes from the start of the word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// What is wrong, holding the substring that the rule names.
    pub message: String,
    /// Where in the word.
    pub offset: usize,
}

/// Expands a word. The result is one word, whatever the variables hold (D-082).
pub fn expand(word: &str, options: &ExpandOptions<'_>) -> Result<Expanded, ExpandError> {
    let mut expansion = Expansion::new(word, options, Unset::Empty);
    let text = expansion.text(None, false)?;
    Ok(Expanded { text, unset: expansion.unset })
}

/// Expands a word and splits the result at white space that was neither quoted nor escaped, which is
/// what EXPOSE does (D-082).
pub fn expand_words(word: &str, options: &ExpandOptions<'_>) -> Result<ExpandedWords, ExpandError> {
    let mut expansion = Expansion::new(word, options, Unset::Empty);
    let mut output = Output { words: Some(Words::default()), ..Output::default() };
    expansion.until(None, false, &mut output)?;
    let words = output.words.map(Words::finish).unwrap_or_default();
    Ok(ExpandedWords { words, unset: expansion.unset })
}

/// Expands a word for showing it: variables that are not set stay as written (D-083).
pub fn expand_shown(word: &str, options: &ExpandOptions<'_>) -> Result<String, ExpandError> {
    Expansion::new(word, options, Unset::Kept).text(None, false)
}

/// What a variable that is not set becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unset {
    Empty,
    Kept,
}

/// The result so far: one text, and words where they are asked for.
#[derive(Debug, Default)]
struct Output {
    text: String,
    words: Option<Words>,
}

/// Finished words, and the one that more may be added to.
#[derive(Debug, Default)]
struct Words {
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Adds text in which blanks separate words.
    fn push_splitting(&mut self, text: &str) {
        self.text.push_str(text);
        let Some(Words { words, word }) = &mut self.words else { return };
        for (number, piece) in text.split(char::is_whitespace).enumerate() {
            if number > 0 && !word.is_empty() {
                words.push(std::mem::take(word));
            }
            word.push_str(piece);
        }
    }

    /// Adds text that belongs to the current word.
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(words) = &mut self.words {
            words.word.push_str(text);
        }
    }
}

impl Words {
    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Expansion<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    options: &'a ExpandOptions<'a>,
    mode: Unset,
    unset: Vec<String>,
    /// The same names, for looking them up.
    noted: BTreeSet<String>,
    depth: usize,
    length: usize,
}

impl<'a> Expansion<'a> {
    fn new(source: &'a str, options: &'a ExpandOptions<'a>, mode: Unset) -> Expansion<'a> {
        let chars = source.char_indices().peekable();
        Expansion {
            source,
            chars,
            options,
            mode,
            unset: Vec::new(),
            noted: BTreeSet::new(),
            depth: 0,
            length: 0,
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn bump(&mut self) -> Option<char> {
        self.chars.next().map(|(_, c)| c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn error<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, ExpandError> {
        Err(ExpandError { message: message.into(), offset })
    }

    /// Counts text that came out of a variable.
    fn count(&mut self, text: &str, offset: usize) -> Result<(), ExpandError> {
        self.length = self.length.saturating_add(text.len());
        if self.length > LONGEST {
            return self.error(offset, "expansion is too long");
        }
        Ok(())
    }

    /// [`Expansion::until`] for those who want no words.
    fn text(&mut self, stop: Option<char>, raw: bool) -> Result<String, ExpandError> {
        let mut output = Output::default();
        self.until(stop, raw, &mut output)?;
        Ok(output.text)
    }

    /// Expands up to the end, or up to and including `stop`. With `raw`, escapes stay in the result,
    /// for a pattern to see them.
    fn until(&mut self, stop: Option<char>, raw: bool, output: &mut Output) -> Result<(), ExpandError> {
        let start = self.offset();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.bump();
                return Ok(());
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    output.push_splitting(&value);
                }
                '\'' if self.options.quotes => {
                    let text = self.single_quoted()?;
                    output.push(&text);
                }
                '"' if self.options.quotes => {
                    let text = self.double_quoted(raw)?;
                    output.push(&text);
                }
                c if c == self.options.escape => {
                    self.bump();
                    let mut buffer = [0; 4];
                    if raw {
                        output.push(c.encode_utf8(&mut buffer));
                    }
                    // At the very end it is dropped (D-076).
                    if let Some(escaped) = self.bump() {
                        output.push(escaped.encode_utf8(&mut buffer));
                    }
                }
                c => {
                    self.bump();
                    output.push_splitting(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        match stop {
            None => Ok(()),
            Some('/') => self.error(start, "syntax error: missing '/' in ${}"),
            Some(_) => self.error(start, "syntax error: missing '}'"),
        }
    }

    /// D-077.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.offset();
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.bump() {
            if c == '\'' {
                return Ok(text);
            }
            text.push(c);
        }
        self.error(start, "unexpected end of statement while looking for matching single-quote")
    }

    /// D-078.
    fn double_quoted(&mut self, raw: bool) -> Result<String, ExpandError> {
        let start = self.offset();
        let escape = self.options.escape;
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.bump();
            if c == '"' {
                return Ok(text);
            }
            if c != escape {
                text.push(c);
                continue;
            }
            match self.peek() {
                Some(next) if next == '"' || next == '$' || next == escape => {
                    self.bump();
                    if raw {
                        text.push(c);
                    }
                    text.push(next);
                }
                Some(_) => text.push(c),
                None => {}
            }
        }
        self.error(start, "unexpected end of statement while looking for matching double-quote")
    }

    /// Expands what begins with the `$` that comes next.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.offset();
        self.bump();
        let value = if self.eat('{') {
            if self.depth == DEEPEST {
                return self.error(start, "nested too deeply");
            }
            self.depth += 1;
            let value = self.braced(start)?;
            self.depth -= 1;
            value
        } else {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            self.plain(name, start)
        };
        self.count(&value, start)?;
        Ok(value)
    }

    /// Returns the value of `$name` or `${name}`, all of which was read.
    fn plain(&mut self, name: &str, start: usize) -> String {
        match self.get(name) {
            Some(value) => value,
            None => {
                self.note_unset(name);
                self.when_unset(start).unwrap_or_default()
            }
        }
    }

    /// Returns what was written from `start` on, if unset variables are kept.
    fn when_unset(&mut self, start: usize) -> Option<String> {
        let end = self.offset();
        (self.mode == Unset::Kept).then(|| self.source[start..end].to_owned())
    }

    fn get(&self, name: &str) -> Option<String> {
        // Positional and special parameters are never set (D-065).
        if name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            (self.options.variable)(name)
        } else {
            None
        }
    }

    fn note_unset(&mut self, name: &str) {
        if self.noted.insert(name.to_owned()) {
            self.unset.push(name.to_owned());
        }
    }

    /// Reads a name (D-065); empty when there is none.
    fn name(&mut self) -> &'a str {
        let start = self.offset();
        match self.peek() {
            Some(c) if c.is_numeric() => while self.chars.next_if(|(_, c)| c.is_numeric()).is_some() {},
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => drop(self.bump()),
            _ => while self.chars.next_if(|(_, c)| c.is_alphanumeric() || *c == '_').is_some() {},
        }
        let end = self.offset();
        &self.source[start..end]
    }

    /// Expands what follows `${`.
    fn braced(&mut self, start: usize) -> Result<String, ExpandError> {
        let inner = self.offset();
        match self.peek() {
            None => return self.error(start, "syntax error: missing '}'"),
            Some('{' | '}' | ':') => return self.error(inner, "syntax error: bad substitution"),
            Some(_) => {}
        }
        let name = self.name();
        let operator = self.offset();
        match self.bump() {
            None => self.error(start, "syntax error: missing '}'"),
            Some('-' | '+' | '?' | '#' | '%' | '/') if name.is_empty() => {
                self.error(inner, "syntax error: bad substitution")
            }
            Some('}') => Ok(self.plain(name, start)),
            Some(':') => match self.peek() {
                None => self.error(start, "syntax error: missing '}'"),
                Some(c @ ('-' | '+' | '?')) => {
                    self.bump();
                    self.alternative(name, c, true, start)
                }
                Some(c) => self.error(operator, format!("unsupported modifier (:{c}) in substitution")),
            },
            Some(c @ ('-' | '+' | '?')) => self.alternative(name, c, false, start),
            Some(c @ ('#' | '%')) => self.strip(name, c, start),
            Some('/') => self.replace(name, start),
            Some(c) => self.error(operator, format!("unsupported modifier ({c}) in substitution")),
        }
    }

    /// D-067 to D-069.
    fn alternative(
        &mut self,
        name: &str,
        operator: char,
        empty_is_unset: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        // The word is expanded even when it is not used, so that errors in it do not hide.
        let word = self.text(Some('}'), false)?;
        let value = self.get(name);
        if value.is_none()
            && let Some(written) = self.when_unset(start)
        {
            return Ok(written);
        }
        let usable = value.as_ref().is_some_and(|value| !empty_is_unset || !value.is_empty());
        match operator {
            '-' if usable => Ok(value.unwrap_or_default()),
            '-' => Ok(word),
            '+' if usable => Ok(word),
            '+' => Ok(String::new()),
            _ if usable => Ok(value.unwrap_or_default()),
            _ => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let why = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                self.error(start, format!("{name}: {why}"))
            }
        }
    }

    /// D-070.
    fn strip(&mut self, name: &str, operator: char, start: usize) -> Result<String, ExpandError> {
        let longest = self.eat(operator);
        let place = self.offset();
        let text = self.text(Some('}'), true)?;
        let pattern = self.pattern(&text, place)?;
        let Some(value) = self.get(name) else {
            self.note_unset(name);
            return Ok(self.when_unset(start).unwrap_or_default());
        };
        Ok(match operator {
            '#' => pattern.strip_prefix(&value, longest),
            _ => pattern.strip_suffix(&value, longest),
        })
    }

    /// D-071.
    fn replace(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let all = self.eat('/');
        let place = self.offset();
        let text = self.text(Some('/'), true)?;
        let replacement = self.text(Some('}'), true)?;
        let pattern = self.pattern(&text, place)?;
        let Some(value) = self.get(name) else {
            self.note_unset(name);
            return Ok(self.when_unset(start).unwrap_or_default());
        };
        match pattern.replace(&value, &replacement, all, LONGEST) {
            Some(value) => Ok(value),
            None => self.error(start, "expansion is too long"),
        }
    }

    fn pattern(&self, text: &str, offset: usize) -> Result<Pattern, ExpandError> {
        Pattern::parse(text)
            .or_else(|why| self.error(offset, format!("invalid pattern ({text}) in substitution: {why}")))
    }
}

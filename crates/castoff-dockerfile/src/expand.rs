//! Word expansion (section 5): variables, operators, quotes and escapes.

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

/// Why a word cannot be expanded. Offsets are bytes from the start of the word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// What is wrong, holding the substring that the rule names.
    pub message: String,
    /// Where in the word.
    pub offset: usize,
}

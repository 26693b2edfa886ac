//! Patterns of the `#`, `%` and `/` operators (D-073).

/// One position of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `?`.
    Any,
    /// This character.
    Exactly(char),
}

/// A pattern: runs of single-character pieces with a `*` between each two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// At least one; any may be empty.
    runs: Vec<Vec<Piece>>,
}

impl Pattern {
    /// Parses a pattern; the error is a fragment for a message.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut runs = Vec::new();
        let mut run = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => runs.push(std::mem::take(&mut run)),
                '?' => run.push(Piece::Any),
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => run.push(Piece::Exactly(c)),
                    Some(c) => return Err(format!("invalid escape '\\{c}'")),
                    None => return Err("invalid escape at the end".to_owned()),
                },
                c => run.push(Piece::Exactly(c)),
            }
        }
        runs.push(run);
        Ok(Pattern { runs })
    }

    /// Returns the value without the shortest or longest prefix that matches.
    pub fn strip_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_at(&chars, 0, longest).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// Returns the value without the shortest or longest suffix that matches.
    pub fn strip_suffix(&self, value: &str, longest: bool) -> String {
        // A suffix is a prefix of the reversed text.
        let chars: Vec<char> = value.chars().rev().collect();
        let mut reversed = self.clone();
        reversed.runs.reverse();
        reversed.runs.iter_mut().for_each(|run| run.reverse());
        let end = reversed.match_at(&chars, 0, longest).unwrap_or(0);
        chars[end..].iter().rev().collect()
    }

    /// Replaces the first match, or all, taking the longest at each place. Returns `None` when the
    /// result would be longer than `limit` bytes.
    pub fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut at = 0;
        let mut copied = 0;
        // Where the match before ended: an empty match is not taken right behind another.
        let mut last_end = None;
        while at <= chars.len() {
            match self.match_at(&chars, at, true) {
                Ok(end) => {
                    let empty = end == at;
                    if !empty || last_end != Some(at) {
                        result.extend(&chars[copied..at]);
                        result.push_str(replacement);
                        copied = end;
                        last_end = Some(end);
                        if !all {
                            break;
                        }
                    }
                    at = if empty { at + 1 } else { end };
                }
                Err(NoMatch::Here) => at += 1,
                Err(NoMatch::Anywhere) => break,
            }
            if result.len() > limit {
                return None;
            }
        }
        result.extend(&chars[copied..]);
        (result.len() <= limit).then_some(result)
    }

    /// Returns the end of the shortest or longest match that begins at `start`.
    fn match_at(&self, chars: &[char], start: usize, longest: bool) -> Result<usize, NoMatch> {
        let Some((first, rest)) = self.runs.split_first() else { return Err(NoMatch::Anywhere) };
        if !fits(first, chars, start) {
            return Err(NoMatch::Here);
        }
        let mut end = start + first.len();
        let Some((last, middle)) = rest.split_last() else { return Ok(end) };
        for run in middle {
            // When a run is not found from here, it is not found from any later start either.
            let at = (end..=chars.len()).find(|at| fits(run, chars, *at)).ok_or(NoMatch::Anywhere)?;
            end = at + run.len();
        }
        let found = if longest {
            (end..=chars.len()).rev().find(|at| fits(last, chars, *at))
        } else {
            (end..=chars.len()).find(|at| fits(last, chars, *at))
        };
        found.map(|at| at + last.len()).ok_or(NoMatch::Anywhere)
    }
}

/// Why there is no match.
enum NoMatch {
    /// Perhaps at a later place.
    Here,
    /// Nor at any later place.
    Anywhere,
}

fn fits(run: &[Piece], chars: &[char], at: usize) -> bool {
    let Some(chars) = chars.get(at..at + run.len()) else { return false };
    run.iter().zip(chars).all(|(piece, c)| match piece {
        Piece::Any => true,
        Piece::Exactly(wanted) => wanted == c,
    })
}

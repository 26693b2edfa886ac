//! The language of `.dockerignore`, `--exclude` and `COPY --parents` (D-281..D-290).

use super::machine::{Machine, Token, element};

/// An ordered list of patterns, some of which include again what earlier ones excluded.
///
/// Paths are relative to the root that the patterns are anchored at, without a leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnorePatterns {
    rules: Vec<Rule>,
}

/// A pattern of which some text is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: pattern `{pattern}`: {problem}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// The line it is on, or its position in a list, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: PatternProblem,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// `!` and nothing else (D-282).
    #[error("`!` needs a pattern after it")]
    LoneExclamationMark,
    /// `[` without its `]` (D-284).
    #[error("`[` is not closed")]
    UnclosedClass,
    /// `[]`, `[-a]`, `[a-]` and the like.
    #[error("`]` and `-` must be escaped where they begin or end a range of `[...]`")]
    MalformedClass,
    /// `[z-a]`.
    #[error("a range of `[...]` ends before it begins")]
    ReversedRange,
    /// A backslash with nothing to escape.
    #[error("the last character is a backslash")]
    TrailingBackslash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    line: usize,
    /// Whether it includes again.
    include: bool,
    pattern: DeepPattern,
}

impl IgnorePatterns {
    /// Reads the text of an ignore file (D-281..D-284).
    pub fn parse(text: impl AsRef<[u8]>) -> Result<IgnorePatterns, PatternError> {
        let text = text.as_ref();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let patterns = lines.filter(|(_, line)| !line.starts_with(b"#"));
        IgnorePatterns::from_lines(patterns.map(|(index, line)| (index + 1, line)))
    }

    /// Takes a list of patterns; there are no comments among them.
    pub fn from_patterns<I>(patterns: I) -> Result<IgnorePatterns, PatternError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let patterns: Vec<I::Item> = patterns.into_iter().collect();
        let lines = patterns.iter().enumerate().map(|(index, pattern)| (index + 1, pattern.as_ref()));
        IgnorePatterns::from_lines(lines)
    }

    fn from_lines<'a>(
        lines: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> Result<IgnorePatterns, PatternError> {
        let mut rules = Vec::new();
        for (line, text) in lines {
            let written = text.trim_ascii();
            let error = |problem| PatternError {
                pattern: String::from_utf8_lossy(written).into_owned(),
                line,
                problem,
            };
            let (include, pattern) = match written.strip_prefix(b"!") {
                Some(pattern) => (true, pattern.trim_ascii()),
                None => (false, written),
            };
            if pattern.is_empty() {
                if include {
                    return Err(error(PatternProblem::LoneExclamationMark));
                }
                continue;
            }
            rules.push(Rule { line, include, pattern: DeepPattern::parse(pattern).map_err(error)? });
        }
        Ok(IgnorePatterns { rules })
    }

    /// Returns whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns whether some pattern includes again what others exclude.
    pub fn includes_again(&self) -> bool {
        self.rules.iter().any(|rule| rule.include)
    }

    /// Returns whether nothing is left: a pattern is `*` or `**`, and none includes again.
    pub fn excludes_everything(&self) -> bool {
        let all = |pattern: &DeepPattern| {
            [b"*".as_slice(), b"**"].iter().any(|text| DeepPattern::parse(text).as_ref() == Ok(pattern))
        };
        !self.includes_again() && self.rules.iter().any(|rule| all(&rule.pattern))
    }

    /// Returns whether a path is excluded, by itself or with a parent of it (D-287, D-288).
    ///
    /// The root is never excluded (D-290).
    pub fn matches(&self, path: &[u8]) -> bool {
        self.excluding_line(path).is_some()
    }

    /// Returns the line of the pattern by which a path is excluded.
    pub fn excluding_line(&self, path: &[u8]) -> Option<usize> {
        if path.is_empty() {
            return None;
        }
        let decisive = self.rules.iter().rev().find(|rule| rule.pattern.applies(path))?;
        if decisive.pattern.is_match(path) || !self.rules.iter().any(|rule| rule.include) {
            return (!decisive.include).then_some(decisive.line);
        }
        self.replay(path).0
    }

    /// Goes down to a path from the root as moby's patternmatcher does. What matched a directory counts
    /// below it, and a pattern is asked only while it could change something: one that says what the
    /// earlier ones said already is as if it did not match, below the directory too. So `docs/deep` and
    /// then `!docs` leave `docs/deep` excluded.
    ///
    /// Returns the line that excludes the path, and which patterns count below it.
    fn replay(&self, path: &[u8]) -> (Option<usize>, Vec<bool>) {
        let mut above = vec![false; self.rules.len()];
        let mut excluded = None;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        for end in ends.chain([path.len()]) {
            excluded = None;
            for (rule, matched) in self.rules.iter().zip(&mut above) {
                let changes = rule.include == excluded.is_some();
                *matched = *matched || (changes && rule.pattern.is_match(&path[..end]));
                if *matched {
                    excluded = (!rule.include).then_some(rule.line);
                }
            }
        }
        (excluded, above)
    }

    /// Returns whether a directory is excluded with everything that could be below it, so that it need
    /// not be searched (D-289).
    pub fn can_prune(&self, directory: &[u8]) -> bool {
        if directory.is_empty() || !self.rules.iter().any(|rule| rule.include) {
            return self.matches(directory);
        }
        let (Some(_), counting) = self.replay(directory) else { return false };
        // Below it, the last pattern that counts excludes everything that no later one includes.
        let rules = self.rules.iter().zip(counting).rev();
        let later = rules.take_while(|(rule, counts)| rule.include || !counts).map(|(rule, _)| rule);
        !later.into_iter().any(|rule| rule.include && rule.pattern.may_match_below(directory))
    }
}

/// One pattern of the language, anchored at a root, `**` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepPattern(Matcher);

/// The common shapes of patterns have shortcuts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// No wildcard at all.
    Literal(Vec<u8>),
    /// `a/**`, `**`: whatever begins with these bytes.
    Begins(Vec<u8>),
    /// `*.o`, `**/*.o`, `**/name`: one component, the first or any.
    Component { anywhere: bool, begin: Vec<u8>, end: Vec<u8>, star: bool },
    /// Everything else.
    Machine { begins: Vec<u8>, machine: Machine },
}

impl DeepPattern {
    /// Compiles a pattern after cleaning it like a path (D-283).
    pub fn parse(pattern: &[u8]) -> Result<DeepPattern, PatternProblem> {
        let pattern = clean_pattern(pattern);
        let (tokens, shape) = compile(&pattern)?;
        Ok(DeepPattern(shortcut(&tokens, shape)))
    }

    /// Returns whether the pattern matches a path or a parent of it.
    pub fn applies(&self, path: &[u8]) -> bool {
        match &self.0 {
            Matcher::Literal(literal) => path
                .strip_prefix(literal.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
            Matcher::Begins(begin) => path.starts_with(begin),
            Matcher::Component { anywhere, begin, end, star } => {
                let count = if *anywhere { usize::MAX } else { 1 };
                path.split(|byte| *byte == b'/').take(count).any(|name| match star {
                    true => {
                        name.len() >= begin.len() + end.len()
                            && name.starts_with(begin)
                            && name.ends_with(end)
                    }
                    false => name == begin,
                })
            }
            Matcher::Machine { begins, machine } => {
                path.starts_with(begins) && machine.run(path, true).matched
            }
        }
    }

    /// Returns whether the pattern matches a path itself.
    fn is_match(&self, path: &[u8]) -> bool {
        match &self.0 {
            Matcher::Literal(literal) => path == literal.as_slice(),
            Matcher::Begins(_) => self.applies(path),
            Matcher::Component { anywhere, .. } => {
                let name = path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[slash + 1..]);
                match name {
                    Some(name) => *anywhere && self.applies(name),
                    None => self.applies(path),
                }
            }
            Matcher::Machine { begins, machine } => {
                path.starts_with(begins) && machine.run(path, false).matched
            }
        }
    }

    /// Returns whether the pattern could match a path below a directory. May say yes in vain.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        if directory.is_empty() {
            return true;
        }
        match &self.0 {
            Matcher::Literal(literal) => is_below(literal, directory),
            Matcher::Begins(begin) => {
                is_below(begin, directory) || directory.starts_with(begin) || {
                    let slashed = begin.strip_suffix(b"/");
                    slashed == Some(directory)
                }
            }
            Matcher::Component { anywhere, .. } => *anywhere || self.applies(directory),
            Matcher::Machine { machine, .. } => {
                let mut below = directory.to_vec();
                below.push(b'/');
                let outcome = machine.run(&below, true);
                outcome.alive || outcome.matched
            }
        }
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Go's `filepath.Clean`, then without a leading slash. What cleans to nothing matches nothing, since
/// no path is called `.`, `..` or `/`.
fn clean_pattern(pattern: &[u8]) -> Vec<u8> {
    let rooted = pattern.starts_with(b"/");
    let mut components: Vec<&[u8]> = Vec::new();
    for component in pattern.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => match components.last() {
                Some(&b"..") | None if rooted => {}
                Some(&b"..") | None => components.push(component),
                Some(_) => {
                    components.pop();
                }
            },
            _ => components.push(component),
        }
    }
    if components.is_empty() { b".".to_vec() } else { components.join(&b'/') }
}

/// Whether wildcards other than a `**` in front or at the end were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    LeadingDoubleStar,
    Wild,
}

/// Translates as moby/patternmatcher does: `**` swallows a following slash and stands for any number
/// of components, except that at the end it stands for anything, and that a pattern whose only
/// wildcard is a `**` in front is a suffix (D-286).
fn compile(pattern: &[u8]) -> Result<(Vec<Token>, Shape), PatternProblem> {
    let mut tokens = Vec::new();
    let mut shape = Shape::Plain;
    let mut rest = pattern;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(b"**") {
            let leading = rest.len() == pattern.len();
            rest = after.strip_prefix(b"/").unwrap_or(after);
            if rest.is_empty() {
                tokens.push(Token::Everything);
            } else {
                tokens.extend([Token::Directories, Token::Within]);
                shape = if leading { Shape::LeadingDoubleStar } else { Shape::Wild };
            }
        } else if *first == b'*' {
            tokens.push(Token::Star);
            shape = Shape::Wild;
            rest = &rest[1..];
        } else {
            let (token, after) = element(rest)?;
            // `\x` and `]` are as literal as `x`, but moby no longer takes the pattern for a suffix.
            if !matches!(token, Token::Char(_)) || matches!(*first, b'\\' | b']') {
                shape = Shape::Wild;
            }
            tokens.push(token);
            rest = after;
        }
    }
    // `**file` with nothing else wild: any path that ends so, also in the middle of a name.
    let slashed = pattern.starts_with(b"**/");
    if shape == Shape::LeadingDoubleStar && !slashed && tokens.last() != Some(&Token::Everything) {
        tokens.splice(..2, [Token::Everything]);
        shape = Shape::Wild;
    }
    Ok((tokens, shape))
}

fn shortcut(tokens: &[Token], shape: Shape) -> Matcher {
    let machine = Machine::new(tokens.to_vec());
    let begins = machine.literal_prefix();
    let all_chars = |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Char(_)));
    if all_chars(tokens) {
        return Matcher::Literal(begins);
    }
    if let [init @ .., Token::Everything] = tokens
        && all_chars(init)
        && shape == Shape::Plain
    {
        return Matcher::Begins(begins);
    }
    let (anywhere, component) = match tokens {
        [Token::Directories, Token::Within, rest @ ..] => (true, rest),
        _ => (false, tokens),
    };
    if !component.contains(&Token::Char(u32::from(b'/'))) {
        let stars = component.iter().filter(|token| **token == Token::Star).count();
        let plain = component.iter().all(|token| matches!(token, Token::Char(_) | Token::Star));
        let split = component.iter().position(|token| *token == Token::Star);
        match (plain, stars, split) {
            (true, 0, None) => {
                let begin = Machine::new(component.to_vec()).literal_prefix();
                return Matcher::Component { anywhere, begin, end: Vec::new(), star: false };
            }
            (true, 1, Some(split)) => {
                let begin = Machine::new(component[..split].to_vec()).literal_prefix();
                let end = Machine::new(component[split + 1..].to_vec()).literal_prefix();
                return Matcher::Component { anywhere, begin, end, star: true };
            }
            _ => {}
        }
    }
    Matcher::Machine { begins, machine }
}

#[cfg(test)]
pub(super) fn tokens_for_tests(pattern: &[u8]) -> Vec<Token> {
    compile(&clean_pattern(pattern)).expect("the test has compiled the same pattern").0
}

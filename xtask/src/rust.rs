//! Rust text as tokens: as much of the language as it takes to find tests, what they cite and what they
//! feed to the parser.

/// A piece of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A comment, its slashes and stars included.
    Comment(String),
    /// The value of a string literal; escapes that are not text become question marks.
    Text(String),
    /// An identifier, keyword or number.
    Word(String),
    /// Anything else that is not white space.
    Sign(char),
}

/// Splits a file. Never fails: a file that does not compile gives odd tokens.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (token, length) = match rest {
            [c, ..] if c.is_whitespace() => (None, 1),
            ['/', '/', ..] => comment(rest, line_comment(rest)),
            ['/', '*', ..] => comment(rest, block_comment(rest)),
            ['"', ..] => string(rest, 0),
            ['b' | 'c', '"', ..] => string(rest, 1),
            ['r', '"' | '#', ..] if raw_quote(&rest[1..]).is_some() => raw_string(rest, 1),
            ['b' | 'c', 'r', '"' | '#', ..] if raw_quote(&rest[2..]).is_some() => raw_string(rest, 2),
            ['\'', ..] => (Some(Token::Sign('\'')), character(rest)),
            [c, ..] if is_word(*c) => {
                let length = rest.iter().take_while(|c| is_word(**c)).count();
                (Some(Token::Word(rest[..length].iter().collect())), length)
            }
            [c, ..] => (Some(Token::Sign(*c)), 1),
            [] => break,
        };
        tokens.extend(token);
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn comment(rest: &[char], length: usize) -> (Option<Token>, usize) {
    (Some(Token::Comment(rest[..length].iter().collect())), length)
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Returns the length of a character literal, or of the quote of a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => {
            let end = rest.iter().skip(3).position(|c| *c == '\'');
            end.map_or(rest.len(), |end| end + 4)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

fn string(rest: &[char], prefix: usize) -> (Option<Token>, usize) {
    let mut text = String::new();
    let mut at = prefix + 1;
    while at < rest.len() {
        match rest[at] {
            '"' => {
                at += 1;
                break;
            }
            '\\' => at += escape(&rest[at..], &mut text),
            c => {
                text.push(c);
                at += 1;
            }
        }
    }
    (Some(Token::Text(text)), at)
}

/// Reads one escape and returns its length.
fn escape(rest: &[char], text: &mut String) -> usize {
    let Some(kind) = rest.get(1) else { return 1 };
    match kind {
        'n' => text.push('\n'),
        'r' => text.push('\r'),
        't' => text.push('\t'),
        '0' => text.push('\0'),
        '\n' => {
            return rest.iter().skip(1).take_while(|c| c.is_whitespace()).count() + 1;
        }
        'x' => {
            let digits: String = rest.iter().skip(2).take(2).collect();
            let value = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            text.push(value.filter(char::is_ascii).unwrap_or('?'));
            return 4;
        }
        'u' => {
            let digits: String = rest.iter().skip(3).take_while(|c| **c != '}').collect();
            text.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or('?'));
            return digits.len() + 4;
        }
        c => text.push(*c),
    }
    2
}

/// Returns the number of `#` before the quote of a raw string.
fn raw_quote(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    (rest.get(hashes) == Some(&'"')).then_some(hashes)
}

fn raw_string(rest: &[char], prefix: usize) -> (Option<Token>, usize) {
    let hashes = raw_quote(&rest[prefix..]).unwrap_or(0);
    let start = prefix + hashes + 1;
    let closes = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (start..rest.len()).find(closes).unwrap_or(rest.len());
    let text = rest[start.min(end)..end].iter().collect();
    (Some(Token::Text(text)), (end + 1 + hashes).min(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Token {
        Token::Word(text.to_owned())
    }

    fn text(text: &str) -> Token {
        Token::Text(text.to_owned())
    }

    #[test]
    fn strings_have_their_values() {
        assert_eq!(tokens(r#" "a\n\"b\u{41}\x42" "#), [text("a\n\"bAB")]);
        assert_eq!(tokens("\"a\\\n   b\""), [text("ab")]);
        assert_eq!(tokens("r#\"a\"\\n\"#x"), [text("a\"\\n"), word("x")]);
        assert_eq!(tokens("br\"a\" b\"c\" r"), [text("a"), text("c"), word("r")]);
        assert_eq!(tokens("r#fn"), [word("r"), Token::Sign('#'), word("fn")]);
    }

    #[test]
    fn comments_quotes_and_lifetimes_are_no_strings() {
        let comment = |text: &str| Token::Comment(text.to_owned());
        assert_eq!(tokens("// \"a\nb"), [comment("// \"a"), word("b")]);
        assert_eq!(tokens("/* /* \" */ */b"), [comment("/* /* \" */ */"), word("b")]);
        let quote = Token::Sign('\'');
        assert_eq!(tokens("'\"' '\\'' 'a b"), [quote.clone(), quote.clone(), quote, word("a"), word("b")]);
        assert_eq!(tokens("'\\u{41}'x"), [Token::Sign('\''), word("x")]);
    }

    #[test]
    fn files_that_end_early_end() {
        for source in ["\"a", "r#\"a", "/* a", "'", "'\\", "\"\\", "\"\\u{", "b", "r#"] {
            tokens(source);
        }
    }
}

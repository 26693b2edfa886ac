//! The commands of a RUN, as far as checks need to know them.
//!
//! This is no shell: it finds words, quotes and the ends of commands. What it cannot follow, such as a
//! substitution, stays in its word, where no check takes it for something else.

use crate::{Command, Run};

/// A command: its words without quotes, the program first. Assignments before it, redirections and the
/// words that only introduce it are left out.
pub(super) type Words = Vec<String>;

/// Returns the commands of a RUN in order, those of its here-document scripts included.
pub(super) fn commands(run: &Run) -> Vec<Words> {
    let mut found = match &run.command {
        Command::Exec(words) => vec![words.clone()],
        Command::Shell(_) if run.only_heredoc => Vec::new(),
        Command::Shell(text) => split(&text.value),
    };
    // A here-document beside a command is most often what the command reads; it may be a script.
    let scripts = run.heredocs.iter().filter(|one| !one.body.starts_with("#!") || is_shell(&one.body));
    found.extend(scripts.flat_map(|script| split(&script.body)));
    found.into_iter().map(introduced).filter(|words| !words.is_empty()).collect()
}

/// Returns the name of the program of a command, without its directory.
pub(super) fn program(words: &Words) -> &str {
    let word = words.first().map(String::as_str).unwrap_or_default();
    word.rsplit('/').next().unwrap_or(word)
}

/// Returns the words after the program that are no flags.
pub(super) fn operands(words: &Words) -> impl Iterator<Item = &str> {
    words.iter().skip(1).map(String::as_str).filter(|word| !word.starts_with('-'))
}

/// Whether a command has one of these flags, in full; a value after `=` does not matter.
pub(super) fn has_flag(words: &Words, flags: &[&str]) -> bool {
    words.iter().any(|word| flags.contains(&word.split('=').next().unwrap_or(word)))
}

fn is_shell(script: &str) -> bool {
    let first = script.lines().next().unwrap_or_default();
    first.split(['/', ' ']).any(|word| matches!(word, "sh" | "bash" | "dash" | "ash"))
}

/// Removes what introduces a command.
fn introduced(mut words: Words) -> Words {
    const INTRODUCE: [&str; 15] = [
        "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "sudo", "exec", "command",
        "env", "nice",
    ];
    let leads = |word: &String| {
        let assigns = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        assigns || INTRODUCE.contains(&word.as_str())
    };
    let start = words.iter().position(|word| !leads(word)).unwrap_or(words.len());
    words.drain(..start);
    words
}

fn split(text: &str) -> Vec<Words> {
    let mut script = Script::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => script.push(escaped),
            },
            '\'' => {
                script.open();
                chars.by_ref().take_while(|c| *c != '\'').for_each(|c| script.push(c));
            }
            '"' => {
                script.open();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
                    script.push(c);
                }
            }
            '`' => {
                script.push(c);
                chars.by_ref().take_while(|c| *c != '`').for_each(|c| script.push(c));
                script.push(c);
            }
            '$' if chars.peek() == Some(&'(') => {
                script.push(c);
                let mut depth = 0;
                for c in chars.by_ref() {
                    script.push(c);
                    depth += match c {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    if depth == 0 {
                        break;
                    }
                }
            }
            '#' if script.word.is_none() => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
                script.end_command();
            }
            '>' | '<' => {
                script.redirect();
                while chars.next_if(|c| matches!(c, '>' | '<' | '&' | '|')).is_some() {}
            }
            '\n' | ';' | '&' | '|' | '(' | ')' => script.end_command(),
            c if c.is_whitespace() => script.end_word(),
            c => script.push(c),
        }
    }
    script.end_command();
    script.commands
}

#[derive(Default)]
struct Script {
    commands: Vec<Words>,
    words: Words,
    word: Option<String>,
    /// Whether the next word is where a redirection leads.
    redirected: bool,
}

impl Script {
    fn open(&mut self) {
        self.word.get_or_insert_default();
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.redirected) {
            self.words.push(word);
        }
    }

    fn redirect(&mut self) {
        // The number of a descriptor belongs to the redirection.
        if self.word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        self.redirected = true;
    }

    fn end_command(&mut self) {
        self.end_word();
        self.redirected = false;
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        let found: Vec<Words> = split(text).into_iter().map(introduced).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn commands_are_found() {
        check("a b && c||d; e|f & g", &[&["a", "b"], &["c"], &["d"], &["e"], &["f"], &["g"]]);
        check("a 'b && c' \"d \\\" e\" f\\ g", &[&["a", "b && c", "d \" e", "f g"]]);
        check("A=1 sudo B=2 a >/dev/null 2>&1 <b c", &[&["a", "c"]]);
        check("if a; then ! b; fi # c && d\ne", &[&["a"], &["b"], &["fi"], &["e"]]);
        check("a $(b && c (d)) `e;f` ''", &[&["a", "$(b && c (d))", "`e;f`", ""]]);
        check("(a; b)", &[&["a"], &["b"]]);
        check("a 'open", &[&["a", "open"]]);
        check("", &[]);
    }
}

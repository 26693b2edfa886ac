//! A tree back to text: every instruction on one line, here-documents behind it.
//!
//! Parsing the text again gives the same tree, but for places, if the file had no errors.

use crate::words::BLANKS;
use crate::{Dockerfile, From, Instruction, Spanned};

/// Returns the text of a file: its directives, then its instructions with the comments above them.
/// Continued lines are joined; all other spelling stays.
pub fn print(dockerfile: &Dockerfile) -> String {
    let mut printer = Printer { text: String::new(), escape: dockerfile.escape };
    if dockerfile.escape != '\\' {
        printer.line(&["# escape=", &dockerfile.escape.to_string()]);
    }
    for (key, value) in [("syntax", &dockerfile.syntax), ("check", &dockerfile.check)] {
        if let Some(value) = value {
            printer.line(&["# ", key, "=", &value.value]);
        }
    }
    // A comment right behind the directives could be read as another one.
    printer.line(&[]);
    dockerfile.global_args.iter().for_each(|instruction| printer.instruction(instruction));
    for stage in &dockerfile.stages {
        printer.from(&stage.from);
        stage.instructions.iter().for_each(|instruction| printer.instruction(instruction));
    }
    printer.text
}

struct Printer {
    text: String,
    escape: char,
}

impl Printer {
    fn line(&mut self, pieces: &[&str]) {
        self.text.extend(pieces.iter().copied());
        self.text.push('\n');
    }

    fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            self.line(&["# ", comment]);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        self.comments(&instruction.comments);
        let (line, bodies) = match instruction.text.split_once('\n') {
            Some((line, bodies)) => (line, Some(bodies)),
            None => (instruction.text.as_str(), None),
        };
        self.text.push_str(&instruction.keyword.value);
        if !line.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(line);
        self.end_line();
        if let Some(bodies) = bodies {
            self.line(&[bodies]);
        }
    }

    fn from(&mut self, from: &From) {
        self.comments(&from.comments);
        self.text.push_str(&from.keyword.value);
        if let Some(platform) = &from.platform {
            self.text.push_str(" --platform=");
            self.flag_value(platform);
        }
        if from.image.value.starts_with("--") {
            self.text.push_str(" --");
        }
        for word in [Some(&from.image), from.as_keyword.as_ref(), from.name.as_ref()].into_iter().flatten() {
            self.text.push(' ');
            self.text.push_str(&word.value);
        }
        self.end_line();
    }

    /// Quotes were removed from a flag's value, so what they protected is escaped instead.
    fn flag_value(&mut self, value: &Spanned<String>) {
        for c in value.value.chars() {
            if c.is_whitespace() || c == '\'' || c == '"' || c == self.escape {
                self.text.push(self.escape);
            }
            self.text.push(c);
        }
    }

    fn end_line(&mut self) {
        let before = self.text.strip_suffix(self.escape);
        if before.is_some_and(|before| !before.ends_with(self.escape)) {
            // The line would go on. A blank that is no space or tab must have stood here before.
            self.text.push(BLANKS[4]);
        }
        self.text.push('\n');
    }
}

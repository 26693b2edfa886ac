//! CMD, ENTRYPOINT and SHELL (section 9).

use castoff_dockerfile::Command;

use super::StageLowering;

impl StageLowering<'_, '_> {
    /// Returns a command as it is stored and run: the shell form with the shell in front (D-133, D-179).
    pub(super) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(argv) => argv.clone(),
            Command::Shell(text) => self.with_shell(&text.value),
        }
    }

    /// Returns the shell of this point of the file with a command for it.
    pub(super) fn with_shell(&self, text: &str) -> Vec<String> {
        let mut argv = match self.state.config.config.shell.as_deref() {
            Some(shell) if !shell.is_empty() => shell.to_vec(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        argv.push(text.to_owned());
        argv
    }

    pub(super) fn cmd(&mut self, command: &Command) {
        let argv = self.argv(command);
        self.record(format!("CMD {}", quoted_list(&argv)), None);
        let config = &mut self.state.config.config;
        // An empty list is not written, as BuildKit leaves it out (D-182).
        config.cmd = (!argv.is_empty()).then_some(argv);
        config.args_escaped = true;
        self.cmd_set = true;
    }

    pub(super) fn entrypoint(&mut self, command: &Command) {
        let argv = self.argv(command);
        self.record(format!("ENTRYPOINT {}", quoted_list(&argv)), None);
        let config = &mut self.state.config.config;
        config.entrypoint = (!argv.is_empty()).then_some(argv);
        // An inherited CMD would be arguments that the new entrypoint does not know (D-181).
        if !self.cmd_set {
            config.cmd = None;
        }
    }

    pub(super) fn shell(&mut self, shell: &[String]) {
        self.record(format!("SHELL [{}]", shell.join(" ")), None);
        self.state.config.config.shell = Some(shell.to_vec());
    }
}

/// Returns a list as Go's `%q` prints it: `["a" "b"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

pub(super) fn quoted(word: &str) -> String {
    word.chars().fold(String::from("\""), |text, character| text + &escaped(character, '"')) + "\""
}

/// Returns a number as Go's `%q` prints it: as the character of that number.
pub(super) fn quoted_character(number: i64) -> String {
    let character =
        u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    format!("'{}'", escaped(character, '\''))
}

fn escaped(character: char, quote: char) -> String {
    match character {
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        other if other == quote => format!("\\{quote}"),
        control if control.is_ascii_control() => format!("\\x{:02x}", u32::from(control)),
        control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    }
}

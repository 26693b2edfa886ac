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
            _ if self.state.config.os == "windows" => {
                vec!["cmd".to_owned(), "/S".to_owned(), "/C".to_owned()]
            }
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        argv.push(text.to_owned());
        argv
    }

    pub(super) fn cmd(&mut self, command: &Command) {
        let argv = self.argv(command);
        self.record(format!("CMD {}", quoted_list(&argv)), None);
        let config = &mut self.state.config.config;
        config.cmd = Some(argv);
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
fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for character in word.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

//! The first line of a script (execve(2), "Interpreter scripts").

/// The kernel reads this much of a program (BINPRM_BUF_SIZE since Linux 5.1).
pub(super) const HEAD: u64 = 256;

/// What `#!` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shebang {
    /// The interpreter as written, a carriage return at its end included.
    pub(super) interpreter: String,
    /// The rest of the line: one argument.
    pub(super) argument: Option<String>,
}

/// Reads the first line; `None` when it is none of a script.
pub(super) fn parse(head: &[u8]) -> Option<Shebang> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n' || *byte == 0).next().unwrap_or_default();
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = line.iter().position(|byte| !blank(byte))?;
    let line = &line[start..];
    let (interpreter, rest) = line.split_at(line.iter().position(blank).unwrap_or(line.len()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let argument = text(rest).trim_matches([' ', '\t']).to_owned();
    Some(Shebang {
        interpreter: text(interpreter),
        argument: Some(argument).filter(|argument| !argument.is_empty()),
    })
}

impl Shebang {
    /// Returns whether the line ends as lines do on Windows.
    pub(super) fn has_carriage_return(&self) -> bool {
        self.argument.as_deref().unwrap_or(&self.interpreter).ends_with('\r')
    }

    /// Returns the program that `env` is to look for, when the interpreter is `env` and the line is simple.
    pub(super) fn program_of_env(&self) -> Option<&str> {
        if self.interpreter.rsplit('/').next() != Some("env") {
            return None;
        }
        let argument = self.argument.as_deref()?;
        let mut words = argument.strip_prefix("-S").unwrap_or(argument).split_whitespace();
        words.find(|word| !word.contains('=')).filter(|word| !word.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(line: &str, interpreter: &str, argument: Option<&str>, env: Option<&str>) {
        let shebang = parse(line.as_bytes()).unwrap();
        assert_eq!(shebang.interpreter, interpreter, "{line:?}");
        assert_eq!(shebang.argument.as_deref(), argument, "{line:?}");
        assert_eq!(shebang.program_of_env(), env, "{line:?}");
    }

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        check("#!/bin/sh\necho", "/bin/sh", None, None);
        check("#! \t/bin/sh -e -x \n", "/bin/sh", Some("-e -x"), None);
        check("#!/usr/bin/env python3", "/usr/bin/env", Some("python3"), Some("python3"));
        check(
            "#!/usr/bin/env -S node --no-warnings\n",
            "/usr/bin/env",
            Some("-S node --no-warnings"),
            Some("node"),
        );
        check("#!/usr/bin/env -S A=b node\n", "/usr/bin/env", Some("-S A=b node"), Some("node"));
        check("#!/usr/bin/env -i sh\n", "/usr/bin/env", Some("-i sh"), None);
        assert!(parse(b"#!/bin/sh\r\n").unwrap().has_carriage_return());
        assert!(parse(b"#!/bin/sh -e\r\n").unwrap().has_carriage_return());
        assert_eq!(parse(b"#!"), None);
        assert_eq!(parse(b"#!   \n/bin/sh"), None);
        assert_eq!(parse(b"\x7fELF"), None);
    }
}

//! A line shell for file systems that have none: it is part of this program, which is in memory already when the root is
//! entered, and so needs no file in it.
//!
//! It has the few commands that looking around needs, runs other programs of the `PATH`, and knows variables and quotes.
//! It deliberately has no pipes, redirections, patterns, scripts or jobs, and says so.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::process;
use crate::spec::ProcessSpec;
use crate::sys::{self, Fork};

const HELP: &str = "\
cd [DIRECTORY]           go to a directory
pwd                      say which one this is
ls [-a] [-l] [PATH...]   list files
cat [FILE...]            show files
env                      show variables
export NAME=VALUE...     set variables
unset NAME...            remove variables
echo [WORD...]           say something
exec PROGRAM [WORD...]   become a program
exit [CODE]              leave
help                     show this
Anything else is a program of the PATH. There are quotes, backslashes, $NAME, ${NAME} and $?; there are no pipes, redirections,
patterns or scripts: this is castoff's own shell, for file systems that have none.
";

/// The longest line that is read, in bytes.
const LINE: usize = 64 << 10;

/// Runs the words of the specification as one command; without any, lines of standard input until it ends. Returns the
/// exit code. The caller is a process of its own, and its only thread.
pub(crate) fn run(spec: &ProcessSpec) -> i32 {
    // Keys are for what runs; the shell goes on.
    sys::ignore_keys();
    let mut shell =
        Shell { variables: spec.env.iter().cloned().collect(), status: 0, is_root: spec.uid == 0 };
    if !spec.argv.is_empty() {
        let words: Vec<Vec<u8>> = spec.argv.iter().map(|word| word.as_bytes().to_vec()).collect();
        return match shell.command(&words) {
            Next::Leave(code) => code,
            Next::Line => shell.status,
        };
    }
    let is_terminal = io::stdin().is_terminal();
    loop {
        if is_terminal {
            shell.prompt();
        }
        let Some(line) = read_line() else {
            return shell.status;
        };
        match split(&line, &shell.variables, shell.status) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => {
                if let Next::Leave(code) = shell.command(&words) {
                    return code;
                }
            }
            Err(why) => shell.fail(&why),
        }
    }
}

struct Shell {
    variables: BTreeMap<OsString, OsString>,
    /// Of the last command.
    status: i32,
    is_root: bool,
}

/// What comes after a command.
enum Next {
    Line,
    Leave(i32),
}

impl Shell {
    fn prompt(&self) {
        let directory = std::env::current_dir().unwrap_or_default();
        let mark = if self.is_root { '#' } else { '$' };
        print(format!("castoff {}{mark} ", shown(directory.as_os_str().as_bytes())).as_bytes());
    }

    fn command(&mut self, words: &[Vec<u8>]) -> Next {
        let (name, rest) = (words[0].as_slice(), &words[1..]);
        let done = match name {
            b"exit" => {
                let code = rest.first().and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
                return Next::Leave(code.unwrap_or(self.status) & 0xff);
            }
            b"cd" => self.cd(rest),
            b"pwd" => {
                std::env::current_dir().map(|path| print(&[path.as_os_str().as_bytes(), b"\n"].concat()))
            }
            b"ls" => list(rest),
            b"cat" => show(rest),
            b"echo" => {
                print(&[rest.join(&b' '), b"\n".to_vec()].concat());
                Ok(())
            }
            b"env" if rest.is_empty() => {
                for (name, value) in &self.variables {
                    print(&[name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat());
                }
                Ok(())
            }
            b"export" => {
                for word in rest {
                    let at = word.iter().position(|byte| *byte == b'=');
                    if let Some(at) = at.filter(|at| *at > 0) {
                        let (name, value) = (word[..at].to_vec(), word[at + 1..].to_vec());
                        self.variables.insert(OsString::from_vec(name), OsString::from_vec(value));
                    }
                }
                Ok(())
            }
            b"unset" => {
                for word in rest {
                    self.variables.remove(OsStr::from_bytes(word));
                }
                Ok(())
            }
            b"help" => {
                print(HELP.as_bytes());
                Ok(())
            }
            b"exec" if !rest.is_empty() => {
                self.status = self.become_program(rest);
                return Next::Line;
            }
            _ => {
                self.status = self.program(words);
                return Next::Line;
            }
        };
        self.status = 0;
        if let Err(error) = done {
            self.fail(&format!("{}: {error}", shown(name)));
        }
        Next::Line
    }

    fn fail(&mut self, why: &str) {
        // There is nobody left to tell when standard error is closed.
        let _nobody = io::stderr().write_all(format!("{why}\n").as_bytes());
        self.status = 1;
    }

    fn cd(&self, words: &[Vec<u8>]) -> io::Result<()> {
        let home = self.variables.get(OsStr::new("HOME"));
        let to = match words.first() {
            Some(word) => OsStr::from_bytes(word),
            None => home.map_or(OsStr::new("/"), OsString::as_os_str),
        };
        std::env::set_current_dir(to)
    }

    /// Runs a program and waits for it.
    fn program(&mut self, words: &[Vec<u8>]) -> i32 {
        match sys::fork() {
            Ok(Fork::Child) => {
                let code = self.become_program(words);
                sys::exit_now(code)
            }
            Ok(Fork::Parent(pid)) => match sys::wait_for(pid) {
                Ok(status) if libc::WIFSIGNALED(status) => 128 + libc::WTERMSIG(status),
                Ok(status) => libc::WEXITSTATUS(status),
                Err(error) => {
                    self.fail(&error.to_string());
                    1
                }
            },
            Err(error) => {
                self.fail(&error.to_string());
                1
            }
        }
    }

    /// Becomes a program. Returns only when that fails, with a shell's exit code for it.
    fn become_program(&mut self, words: &[Vec<u8>]) -> i32 {
        sys::reset_signals();
        let argv: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
        let env: Vec<(OsString, OsString)> =
            self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let failure = process::execute(&argv, &env);
        sys::ignore_keys();
        self.fail(&failure.to_string());
        127
    }
}

/// Splits a line into words, with quotes, backslashes and variables.
fn split(line: &[u8], variables: &BTreeMap<OsString, OsString>, status: i32) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        at += 1;
        match (quote, byte) {
            (None, b' ' | b'\t') => words.extend(word.take()),
            (None, b'#') if word.is_none() => break,
            (None, b'\'' | b'"') => {
                word.get_or_insert_default();
                quote = Some(byte);
            }
            (Some(open), byte) if byte == open => quote = None,
            (None | Some(b'"'), b'\\') if at < line.len() => {
                word.get_or_insert_default().push(line[at]);
                at += 1;
            }
            (None | Some(b'"'), b'$') => {
                let (value, after) = variable(line, at, variables, status);
                word.get_or_insert_default().extend(value);
                at = after;
            }
            (None, b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'`') => {
                return Err(format!("this shell has no `{}`: `help` says what it has", byte as char));
            }
            (_, byte) => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// Returns what stands behind a `$`, and where the line goes on.
fn variable(
    line: &[u8],
    at: usize,
    variables: &BTreeMap<OsString, OsString>,
    status: i32,
) -> (Vec<u8>, usize) {
    let rest = &line[at..];
    if rest.first() == Some(&b'?') {
        return (status.to_string().into_bytes(), at + 1);
    }
    let braced = rest.first() == Some(&b'{');
    let start = usize::from(braced);
    let length =
        rest[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let end = start + length;
    if length == 0 || braced && rest.get(end) != Some(&b'}') {
        return (vec![b'$'], at);
    }
    let value = variables.get(OsStr::from_bytes(&rest[start..end]));
    let value = value.map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    (value, at + end + usize::from(braced))
}

/// Reads a line byte by byte, so that nothing is taken that is for a program.
fn read_line() -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => return Some(line),
            Ok(_) if byte[0] == b'\n' => return Some(line),
            Ok(_) if line.len() < LINE => line.push(byte[0]),
            // The rest of what is too long for a line.
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn show(words: &[Vec<u8>]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if words.is_empty() {
        io::copy(&mut io::stdin().lock(), &mut stdout)?;
    }
    for word in words {
        let path = Path::new(OsStr::from_bytes(word));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", shown(word)));
        let mut file = fs::File::open(path).map_err(named)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(named)? {
                0 => break,
                count => stdout.write_all(&buffer[..count])?,
            }
        }
    }
    stdout.flush()
}

fn list(words: &[Vec<u8>]) -> io::Result<()> {
    let (flags, paths): (Vec<&Vec<u8>>, Vec<&Vec<u8>>) =
        words.iter().partition(|word| word.len() > 1 && word[0] == b'-');
    let has = |flag: u8| flags.iter().any(|word| word.contains(&flag));
    let here = b".".to_vec();
    let paths = if paths.is_empty() { vec![&here] } else { paths };
    let is_one = paths.len() == 1;
    for path in paths {
        let place = Path::new(OsStr::from_bytes(path));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", shown(path)));
        let metadata = fs::symlink_metadata(place).map_err(named)?;
        let is_directory = metadata.is_dir() || metadata.is_symlink() && !has(b'l') && place.is_dir();
        if !is_directory {
            entry(path, &metadata, place, has(b'l'));
            continue;
        }
        if !is_one {
            print(&[path.as_slice(), b":\n"].concat());
        }
        let mut names: Vec<OsString> = fs::read_dir(place)
            .map_err(named)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names.iter().filter(|name| has(b'a') || !name.as_bytes().starts_with(b".")) {
            let path = place.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) => entry(name.as_bytes(), &metadata, &path, has(b'l')),
                Err(error) => print(format!("{}: {error}\n", shown(name.as_bytes())).as_bytes()),
            }
        }
    }
    Ok(())
}

fn entry(name: &[u8], metadata: &fs::Metadata, path: &Path, long: bool) {
    let mut line = String::new();
    if long {
        let kind = metadata.file_type();
        let kinds = [
            (kind.is_dir(), 'd'),
            (kind.is_symlink(), 'l'),
            (kind.is_block_device(), 'b'),
            (kind.is_char_device(), 'c'),
            (kind.is_fifo(), 'p'),
            (kind.is_socket(), 's'),
        ];
        let kind = kinds.iter().find(|(is_it, _)| *is_it).map_or('-', |(_, letter)| *letter);
        line = format!(
            "{kind}{} {:>5} {:>5} {:>10} ",
            permissions(metadata.mode()),
            metadata.uid(),
            metadata.gid(),
            metadata.size()
        );
    }
    line.push_str(&shown(name));
    if let Some(target) = fs::read_link(path).ok().filter(|_| long) {
        line.push_str(" -> ");
        line.push_str(&shown(target.as_os_str().as_bytes()));
    }
    line.push('\n');
    print(line.as_bytes());
}

fn permissions(mode: u32) -> String {
    let bit = |bit: u32, letter: char| if mode & bit != 0 { letter } else { '-' };
    let execution = |run: u32, special: u32, letter: char| match (mode & run != 0, mode & special != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execution(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execution(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execution(0o001, 0o1000, 't'),
    ]
    .iter()
    .collect()
}

/// Returns a name without anything that a terminal would obey.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // There is nobody left to tell when standard output is closed.
    let _nobody = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<&[&str], &str>) {
        let variables = [("A", "one two"), ("B_1", "b"), ("E", "")];
        let variables = variables
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .into_iter()
            .collect();
        let words = split(line.as_bytes(), &variables, 7);
        let words = words
            .map(|words| words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect::<Vec<_>>());
        match expected {
            Ok(expected) => assert_eq!(words.unwrap(), expected, "{line}"),
            Err(text) => assert!(words.as_ref().is_err_and(|error| error.contains(text)), "{line} {words:?}"),
        }
    }

    #[test]
    fn lines_are_split_as_in_a_shell() {
        check("", Ok(&[]));
        check("  ls   -l\t/x ", Ok(&["ls", "-l", "/x"]));
        check("echo 'a  b' \"c $B_1\" d\\ e '' x'y'z", Ok(&["echo", "a  b", "c b", "d e", "", "xyz"]));
        check("echo $A ${A}x $? $NONE.", Ok(&["echo", "one two", "one twox", "7", "."]));
        check("echo '$A' \\$A $ ${ ${A a$", Ok(&["echo", "$A", "$A", "$", "${", "${A", "a$"]));
        check("# nothing", Ok(&[]));
        check("a#b '#'", Ok(&["a#b", "#"]));
        check("echo \"a\\\"b|c\"", Ok(&["echo", "a\"b|c"]));
        for line in ["a | b", "a > b", "a; b", "a && b", "$(a)", "`a`"] {
            check(line, Err("this shell has no"));
        }
        check("echo 'a", Err("not closed"));
    }

    #[test]
    fn modes_are_shown_as_ls_does() {
        assert_eq!(permissions(0o100_755), "rwxr-xr-x");
        assert_eq!(permissions(0o106_644), "rwSr-Sr--");
        assert_eq!(permissions(0o041_777), "rwxrwxrwt");
    }
}

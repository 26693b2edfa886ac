//! What the runtime starts: ENTRYPOINT and CMD, found in the image as a runtime finds them.

use castoff_layer::{EntryKind, ViewError};
use castoff_oci::{ContainerConfig, ImageConfig};

use super::files::{Files, Found, Lookup};
use super::program::{Executor, Process, absolute};
use super::{Finding, Rule, Wanted};

/// The PATH that runtimes give a process whose image has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Words that a POSIX shell does not look for as programs (XCU 2.4, 2.9.1, 2.14, and common additions).
const SHELL_WORDS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif",
    "else", "esac", "eval", "exit", "export", "false", "fc", "fg", "fi", "for", "function", "getopts",
    "hash", "if", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "select", "set",
    "shift", "source", "test", "then", "time", "times", "trap", "true", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while", "{", "}", "!",
];

/// Returns what is started: the entrypoint and its arguments (image-spec, config.md, "Entrypoint", "Cmd").
pub(super) fn argv(config: &ContainerConfig) -> Vec<String> {
    let entrypoint = config.entrypoint.iter().flatten();
    let argv: Vec<String> = entrypoint.chain(config.cmd.iter().flatten()).cloned().collect();
    if argv.iter().all(String::is_empty) { Vec::new() } else { argv }
}

/// Why a program is not started.
pub(super) enum NotFound {
    /// It is nowhere.
    Missing,
    /// A directory on the way may not be passed.
    Denied(String),
}

/// Finds a program by its name, as runtimes and shells do: with a slash it is a path, else it is looked for in
/// PATH, where files that may not be executed count only when there are no others.
pub(super) fn search(
    files: &Files<'_>,
    config: &ContainerConfig,
    name: &str,
) -> Result<Result<Found, NotFound>, ViewError> {
    if name.contains('/') {
        return Ok(match files.lookup(&absolute(name, &config.working_dir))? {
            Lookup::Found(found) => Ok(*found),
            Lookup::Missing => Err(NotFound::Missing),
            Lookup::Denied(directory) => Err(NotFound::Denied(directory)),
        });
    }
    let mut second = None;
    let mut denied = None;
    for directory in config.variable("PATH").unwrap_or(PATH).split(':') {
        match files.lookup(&absolute(&format!("{directory}/{name}"), &config.working_dir))? {
            Lookup::Found(found) if matches!(found.node.entry.kind, EntryKind::File { .. }) => {
                if files.may_execute(&found.node.entry) {
                    return Ok(Ok(*found));
                }
                second.get_or_insert(*found);
            }
            Lookup::Denied(directory) => {
                denied.get_or_insert(directory);
            }
            Lookup::Found(_) | Lookup::Missing => {}
        }
    }
    Ok(second.ok_or(denied.map_or(NotFound::Missing, NotFound::Denied)))
}

/// Follows the command of an image; returns its process when one would come to be.
pub(super) fn start(
    files: &Files<'_>,
    image: &ImageConfig,
    argv: &[String],
    findings: &mut Vec<Finding>,
) -> Result<Option<Process>, ViewError> {
    let config = &image.config;
    let shell_form = shell_text(argv);
    let program = match search(files, config, &argv[0])? {
        Ok(program) => program,
        Err(NotFound::Denied(directory)) => {
            findings.push(denied(&argv[0], &directory));
            return Ok(None);
        }
        Err(NotFound::Missing) if shell_form.is_some() => {
            let message =
                format!("the command is in shell form, and the shell `{}` is not in the image", argv[0]);
            let hint = "write it as a list: `[\"program\", \"argument\"]`";
            findings.push(Finding::certain(Rule::ShellMissing, message).hint(hint));
            return Ok(None);
        }
        Err(NotFound::Missing) => {
            findings.push(missing(config, &argv[0]));
            return Ok(None);
        }
    };
    let executor = Executor { files, config: image, by_shell: false };
    let Some(process) = executor.execute(&program, argv, findings)? else { return Ok(None) };
    let Some(words) = shell_form.and_then(simple_words) else {
        script_argument(files, config, &process, findings)?;
        return Ok(Some(process));
    };
    let program = match search(files, config, &words[0])? {
        Ok(program) => program,
        Err(NotFound::Denied(directory)) => {
            findings.push(denied(&words[0], &directory));
            return Ok(Some(process));
        }
        Err(NotFound::Missing) => {
            findings.push(missing(config, &words[0]));
            return Ok(Some(process));
        }
    };
    let executor = Executor { by_shell: true, ..executor };
    let Some(inner) = executor.execute(&program, &words, findings)? else { return Ok(Some(process)) };
    script_argument(files, config, &inner, findings)?;
    Ok(Some(inner))
}

fn missing(config: &ContainerConfig, name: &str) -> Finding {
    let (message, wanted) = if name.contains('/') {
        let path = absolute(name, &config.working_dir);
        let shown = if path == name { format!("`{name}`") } else { format!("`{name}`, which is `{path}`,") };
        (format!("{shown} is not in the image"), Wanted::File(path))
    } else {
        let message =
            format!("`{name}` is in no directory of PATH ({})", config.variable("PATH").unwrap_or(PATH));
        (message, Wanted::Program(name.to_owned()))
    };
    let finding =
        Finding { certainty: certainty(config, name), ..Finding::certain(Rule::ProgramMissing, message) };
    // `CMD ["node server.js"]` asks for a program with a blank in its name.
    if name.contains(' ') && name.split(' ').count() > 1 {
        return finding.hint("in a list each argument is a string of its own: `[\"program\", \"argument\"]`");
    }
    finding.wanted(wanted)
}

fn denied(name: &str, directory: &str) -> Finding {
    let message = format!("`{name}` cannot be reached by the image's user: `{directory}` may not be passed");
    Finding::certain(Rule::NotReadable, message).hint("give the directory `--chmod=755` or `--chown`")
}

/// What is below a volume may be brought when the image is run.
fn certainty(config: &ContainerConfig, path: &str) -> super::Certainty {
    let path = absolute(path, &config.working_dir);
    let below = |volume: &String| {
        let rest = path.strip_prefix(volume.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let volumes = config.volumes.iter().flat_map(|volumes| volumes.keys());
    if volumes.into_iter().any(below) { super::Certainty::Likely } else { super::Certainty::Certain }
}

/// Returns the text of a command in shell form.
fn shell_text(argv: &[String]) -> Option<&str> {
    let [shell, option, text, ..] = argv else { return None };
    let name = shell.rsplit('/').next()?;
    (["sh", "bash", "ash", "dash"].contains(&name) && option == "-c").then_some(text)
}

/// Returns the words of a shell command that is one program with plain arguments, and nothing else.
fn simple_words(text: &str) -> Option<Vec<String>> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || " _./:@%+,-=".contains(letter);
    if !text.chars().all(plain) {
        return None;
    }
    let text = text.trim();
    let words: Vec<String> =
        text.strip_prefix("exec ").unwrap_or(text).split_whitespace().map(str::to_owned).collect();
    let first = words.first()?;
    (!first.contains('=') && !SHELL_WORDS.contains(&first.as_str())).then_some(words)
}

/// The file that an interpreter is told to run.
fn script_argument(
    files: &Files<'_>,
    config: &ContainerConfig,
    process: &Process,
    findings: &mut Vec<Finding>,
) -> Result<(), ViewError> {
    let name = process.argv[0].rsplit('/').next().unwrap_or_default();
    let language = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let argument = match (language, process.argv.get(1), process.argv.get(2)) {
        ("java", Some(flag), jar) if flag == "-jar" => jar,
        (
            "node" | "nodejs" | "python" | "ruby" | "perl" | "php" | "sh" | "bash" | "dash" | "ash",
            first,
            _,
        ) => first,
        _ => None,
    };
    let Some(argument) = argument.filter(|argument| !argument.starts_with('-') && !argument.is_empty())
    else {
        return Ok(());
    };
    let path = absolute(argument, &config.working_dir);
    // Node tries these of a name without one (`require`, "All together").
    let endings: &[&str] = if language.starts_with("node") { &["", ".js", ".json", ".node"] } else { &[""] };
    for ending in endings {
        match files.lookup(&format!("{path}{ending}"))? {
            Lookup::Found(found) => {
                let entry = &found.node.entry;
                if !files.may_read(entry) {
                    let message = format!(
                        "`{}` may not be read by the image's user: its mode is {:04o}",
                        found.path, entry.mode
                    );
                    let finding = Finding::certain(Rule::NotReadable, message);
                    findings.push(finding.hint("add `--chown` or `--chmod` to the COPY that brings it"));
                }
                return Ok(());
            }
            Lookup::Denied(directory) => {
                findings.push(denied(&path, &directory));
                return Ok(());
            }
            Lookup::Missing => {}
        }
    }
    // Shells look in PATH too, and the subcommands of some programs look like files.
    if !argument.contains(['/', '.']) {
        return Ok(());
    }
    if search(files, config, argument)?.is_ok() {
        return Ok(());
    }
    let message = format!("`{name}` is to run `{path}`, which is not in the image");
    let finding = Finding::certain(Rule::ScriptMissing, message).wanted(Wanted::File(path.clone()));
    findings.push(Finding { certainty: certainty(config, &path), ..finding });
    Ok(())
}

/// Runtimes make a working directory that is missing, and fail where something else is.
pub(super) fn working_directory(
    files: &Files<'_>,
    config: &ContainerConfig,
    findings: &mut Vec<Finding>,
) -> Result<(), ViewError> {
    if config.working_dir.is_empty() {
        return Ok(());
    }
    let path = absolute(&config.working_dir, "/");
    if let Lookup::Found(found) = files.lookup(&path)?
        && !found.node.entry.is_directory()
    {
        let message = format!("the working directory `{path}` is no directory");
        findings.push(Finding::certain(Rule::WorkingDirectory, message));
    }
    Ok(())
}

/// The program of HEALTHCHECK.
pub(super) fn health_check(
    files: &Files<'_>,
    config: &ContainerConfig,
    findings: &mut Vec<Finding>,
) -> Result<(), ViewError> {
    let Some(check) = &config.healthcheck else { return Ok(()) };
    let shell = || match config.shell.as_deref() {
        Some([shell, ..]) => shell.clone(),
        _ => "/bin/sh".to_owned(),
    };
    let (program, text) = match check.test.as_slice() {
        [kind, program, ..] if kind == "CMD" => (program.clone(), None),
        [kind, text, ..] if kind == "CMD-SHELL" => (shell(), Some(text)),
        _ => return Ok(()),
    };
    let mut wanted = vec![program];
    // `curl -f http://localhost/ || exit 1` begins with the program too.
    let first =
        text.and_then(|text| simple_words(text.split(['|', '&', ';', '>']).next().unwrap_or_default()));
    wanted.extend(first.and_then(|words| words.into_iter().next()));
    for program in wanted {
        if search(files, config, &program)?.is_err() {
            let message = format!("the health check runs `{program}`, which is not in the image");
            let finding = Finding::certain(Rule::HealthcheckMissing, message);
            let wanted = match program.contains('/') {
                true => Wanted::File(program),
                false => Wanted::Program(program),
            };
            findings.push(finding.wanted(wanted));
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{shell_text, simple_words};

    #[test]
    fn only_plain_commands_are_read_in_shell_form() {
        let words = |text| simple_words(text).map(|words| words.join("|"));
        assert_eq!(words("node server.js").as_deref(), Some("node|server.js"));
        assert_eq!(words("exec ./app --port=80").as_deref(), Some("./app|--port=80"));
        assert_eq!(words("echo hello"), None);
        assert_eq!(words("A=b app"), None);
        assert_eq!(words("app $PORT"), None);
        assert_eq!(words("a && b"), None);
        assert_eq!(words(""), None);
    }

    #[test]
    fn shell_form_is_a_shell_with_a_text() {
        let text = |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            shell_text(&argv).map(str::to_owned)
        };
        assert_eq!(text(&["/bin/sh", "-c", "a b"]).as_deref(), Some("a b"));
        assert_eq!(text(&["/bin/bash", "-c", "a"]).as_deref(), Some("a"));
        assert_eq!(text(&["/bin/sh", "-e", "a"]), None);
        assert_eq!(text(&["tini", "-c", "a"]), None);
    }
}

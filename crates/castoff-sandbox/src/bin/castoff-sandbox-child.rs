//! A program for this crate's tests, which cannot use their own: libtest has the `main` there. It is the
//! sandbox's helper, and it can do what `castoff` does with this crate, as the user who starts it.
//!
//! ```text
//! castoff-sandbox-child [--single] enter                       prints what it became
//! castoff-sandbox-child [--single] run SPEC [CANCEL-ON]        runs a specification, prints how it went
//! castoff-sandbox-child [--single] remove DIRECTORY            removes what other mapped ids own
//! castoff-sandbox-child overwrite                              opens its own file to write, prints the error
//! ```

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use castoff_sandbox::{
    Cancel, EnterOptions, Entered, ProcessSpec, Status, Stream, enter_user_namespace, run,
};

fn main() -> ExitCode {
    castoff_sandbox::child_main_if_requested();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["overwrite"] {
        let opened = std::fs::OpenOptions::new().write(true).truncate(true).open("/proc/self/exe");
        let said = opened.map_or_else(|error| error.to_string(), |_| "opened".to_owned());
        return writeln!(io::stdout(), "{said}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let single = arguments.first().is_some_and(|first| first == "--single");
    if single {
        arguments.remove(0);
    }
    let entered = match enter_user_namespace(&EnterOptions { single, ..EnterOptions::default() }) {
        Ok(Entered::Exited(code)) => return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ok(entered) => entered,
        Err(error) => return fail(&error),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["enter"] => writeln!(io::stdout(), "{entered:?}"),
        ["remove", path] => std::fs::remove_dir_all(path),
        ["run", path] => report(Path::new(path), None),
        ["run", path, cancel_on] => report(Path::new(path), Some(cancel_on)),
        _ => return fail(&"usage: castoff-sandbox-child [--single] enter | run SPEC [CANCEL-ON]"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _nobody_to_tell = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

/// Runs the specification in a file and prints a JSON document. The run is cancelled when its output
/// contains `cancel_on`.
fn report(path: &Path, cancel_on: Option<&str>) -> io::Result<()> {
    let spec: ProcessSpec = serde_json::from_slice(&std::fs::read(path)?)?;
    let cancel = Cancel::new()?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let result = run(&spec, &cancel, &mut |stream, bytes| {
        let text = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        text.extend_from_slice(bytes);
        if cancel_on.is_some_and(|wanted| String::from_utf8_lossy(text).contains(wanted)) {
            cancel.cancel();
        }
    });
    let (status, error) = match result {
        Ok(exit) => (describe(exit.status), String::new()),
        Err(error) => (String::new(), error.to_string()),
    };
    let document = serde_json::json!({
        "status": status,
        "error": error,
        "stdout": String::from_utf8_lossy(&stdout),
        "stderr": String::from_utf8_lossy(&stderr),
    });
    writeln!(io::stdout(), "{document}")
}

fn describe(status: Status) -> String {
    match status {
        Status::Code(code) => format!("code {code}"),
        Status::Signal(signal) => format!("signal {signal}"),
        Status::Cancelled => "cancelled".to_owned(),
        Status::TimedOut => "timed out".to_owned(),
    }
}

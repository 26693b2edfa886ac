//! The program `castoff`.

use std::io::Write as _;
use std::process::ExitCode;

use castoff::{args, command};

fn main() -> ExitCode {
    castoff_sandbox::child_main_if_requested();
    match args::parse(std::env::args_os()) {
        Ok(invocation) => ExitCode::from(command::run(invocation)),
        Err(stop) => {
            // There is nobody left to tell when standard output or error is closed.
            let _ = match stop.asked {
                true => std::io::stdout().write_all(stop.text.as_bytes()),
                false => std::io::stderr().write_all(stop.text.as_bytes()),
            };
            ExitCode::from(stop.code)
        }
    }
}

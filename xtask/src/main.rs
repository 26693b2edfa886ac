//! Automation: what continuous integration runs, a developer runs with one command.
//!
//! `cargo xtask setup` installs what the tests need, `foreign` and `stores` fetch programs of another
//! architecture and a store of objects for them, `tidy` checks the shape of the workspace, `bases`
//! makes stand-ins for base images, `e2e` builds and runs the examples, `demo` compares their sizes,
//! `fuzz` looks for inputs that break parsers, `dist` builds what is shipped, `ci` does everything.

mod bases;
mod bench;
mod castoff;
mod chance;
mod ci;
mod command;
mod demo;
mod differential;
mod dist;
mod docs;
mod e2e;
mod examples;
mod foreign;
mod fuzz;
mod http;
mod peers;
mod rust;
mod server;
mod stores;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup            install the Debian packages that the tests and examples use, and the store of objects
  tidy             check crate edges, headers, file sizes and documents
  foreign          fetch a busybox of another architecture for the tests
  stores           fetch a store of objects that speaks S3 for the tests
  bases            make stand-ins for the examples' base images where no registry offers them
  e2e [NAME..]     build, start and question the examples (all, or the named ones)
  e2e-unprivileged build them as an ordinary user, from a copy (as root)
  demo [NAME..]    print the examples' sizes, one stage against many
  dist             build the program as it is shipped: optimised, static, one file
  differential     compare castoff's images with docker's and buildah's (as root); --help says more
  docs             write what is generated in docs/
  bench            measure castoff beside other builders and the bare work (as root); --help says more
  fuzz [NAME..]    run fuzz targets (all, or the named ones) for --seconds N (10) each
  ci               everything above, with formatting, lints and tests

CASTOFF names the castoff binary (default: target/debug/castoff, built first).
CASTOFF_E2E_ROOT names the directory of its store and outputs (default: in target/e2e).
CASTOFF_E2E_USER names a user to run it as, for a look at builds without privileges.
CASTOFF_FUZZ names the directory of fuzzing's corpora and findings (default: target/fuzz).
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let result = match command.as_str() {
        "setup" => ci::setup().and_then(|()| stores::main()),
        "tidy" => tidy::main(),
        "foreign" => foreign::main(),
        "stores" => stores::main(),
        "bases" => bases::main(),
        "e2e" => e2e::main(rest),
        "e2e-unprivileged" => ci::unprivileged(),
        "demo" => demo::main(rest),
        "differential" => differential::main(rest),
        "dist" => dist::main(),
        "docs" => docs::main(),
        "bench" => bench::main(rest),
        "fuzz" => fuzz::main(rest),
        "ci" => ci::main(),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("error: there is no command `{command}`\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

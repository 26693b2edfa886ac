//! The commands: each takes its checked flags, does its work, and returns the exit code.

mod build;
mod builds;
mod call;
mod check;
mod copy;
mod debug;
mod diff;
mod explain;
mod images;
mod index;
mod login;
mod machine;
mod pages;
mod plan;
mod prove;
mod push;
mod report;
mod run;
mod sbom;
mod shell;
mod sign;
mod space;
mod startable;
mod transfer;
mod update;
mod verify;
mod why;

use std::io::{self, IsTerminal as _, Write};

use castoff_oci::Platform;
use castoff_sandbox::{EnterOptions, Entered};

use crate::args::{Command, Environment, GlobalArgs, IndexCommand, Invocation, ProgressMode};
use crate::exit;
use crate::session::{self, Session, SessionOptions};

/// Does what the command line asks for and returns the exit code.
pub fn run(invocation: Invocation) -> u8 {
    let mut environment = Environment::new(std::env::vars_os());
    environment.stdout_is_terminal = io::stdout().is_terminal();
    environment.stderr_is_terminal = io::stderr().is_terminal();
    let done = match &invocation.command {
        Command::Completion(args) => pages::completion(args),
        Command::Man(args) => pages::man(args),
        // Without a base there is nothing to look up, so that it works where no store can be.
        Command::Check(args) if !args.resolve || args.list || args.explain.is_some() => {
            check::check(args, &environment)
        }
        Command::Login(args) => login::login(args, &invocation.global, &environment),
        Command::Logout(args) => login::logout(args, &environment),
        Command::Version => print(&format!("castoff {}\n", env!("CARGO_PKG_VERSION"))),
        _ => with_store(&invocation, &environment),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&castoff_solver::chain(error.as_ref()));
            exit::FAILURE
        }
    }
}

/// Enters the user namespace, which has to happen before a thread exists, and does a command that uses
/// the store.
fn with_store(invocation: &Invocation, environment: &Environment) -> anyhow::Result<u8> {
    let entered = match castoff_sandbox::enter_user_namespace(&EnterOptions::default()) {
        Ok(Entered::Exited(code)) => return Ok(u8::try_from(code).unwrap_or(exit::FAILURE)),
        Ok(entered) => entered,
        // Everything but running steps works without.
        Err(error) => Entered::Confined { reason: error.to_string() },
    };
    let context = Context { global: &invocation.global, environment, entered: &entered };
    match &invocation.command {
        Command::Build(args) => build::build(args, &context),
        Command::Plan(args) => plan::plan(args, &context),
        Command::Check(args) => check::check_resolved(args, &context),
        Command::Images(args) => images::images(args, &context),
        Command::History(args) => images::history(args, &context),
        Command::Inspect(args) => images::inspect(args, &context),
        Command::Prove(args) => prove::prove(args, &context),
        Command::Startable(args) => startable::startable(args, &context),
        Command::Sbom(args) => sbom::sbom(args, &context),
        Command::Builds(args) => builds::builds(args, &context),
        Command::Log(args) => builds::log(args, &context),
        Command::Diff(args) => diff::diff(args, &context),
        Command::Explain(args) => explain::explain(args, &context),
        Command::Report(args) => report::report(args, &context),
        Command::Why(args) => why::why(args, &context),
        Command::Tag(args) => images::tag(args, &context),
        Command::Rmi(args) => images::rmi(args, &context),
        Command::Save(args) => transfer::save(args, &context),
        Command::Load(args) => transfer::load(args, &context),
        Command::Import(args) => transfer::import(args, &context),
        Command::Pull(args) => transfer::pull(args, &context),
        Command::Push(args) => push::push(args, &context),
        Command::Copy(args) => copy::copy(args, &context),
        Command::Index(IndexCommand::Create(args)) => index::create(args, &context),
        Command::Index(IndexCommand::Inspect(args)) => index::inspect(args, &context),
        Command::Sign(args) => sign::sign(args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Verify(args) => verify::verify(args, &context),
        Command::Debug(args) => debug::debug(args, &context),
        Command::Shell(args) => shell::shell(args, &context),
        Command::Update(args) => update::update(args, &context),
        Command::Du(args) => space::du(args, &context),
        Command::Prune(args) => space::prune(args, &context),
        Command::Info(args) => machine::info(args, &context),
        Command::Completion(_)
        | Command::Man(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Version => {
            unreachable!("done without the store")
        }
    }
}

/// What every command with a store is given.
struct Context<'a> {
    global: &'a GlobalArgs,
    environment: &'a Environment,
    entered: &'a Entered,
}

impl Context<'_> {
    /// Opens the store for a command that only looks and names.
    fn session(&self) -> anyhow::Result<Session> {
        self.open(SessionOptions { jobs: None, lease: true })
    }

    fn open(&self, options: SessionOptions) -> anyhow::Result<Session> {
        session::open(self.global, self.environment, self.entered, options)
    }
}

/// Returns the platform of `--platform`, where one is taken.
fn platform(text: Option<&str>) -> anyhow::Result<Option<Platform>> {
    Ok(text.map(str::parse).transpose()?)
}

/// Returns how progress is shown, as `--quiet` and `--progress` say.
fn progress_mode(quiet: bool, text: Option<&str>, context: &Context<'_>) -> anyhow::Result<ProgressMode> {
    match (quiet, text) {
        (true, Some(_)) => anyhow::bail!("`--quiet` and `--progress` exclude each other"),
        (true, None) => Ok(ProgressMode::Quiet),
        (false, text) => Ok(ProgressMode::choose(text, context.environment)?),
    }
}

/// Writes to standard output; a closed one ends the command quietly.
fn print(text: &str) -> anyhow::Result<u8> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::SUCCESS),
    }
}

/// Writes an error to standard error.
fn complain(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _nobody = writeln!(io::stderr(), "error: {text}");
}

/// Writes errors that are lines already to standard error.
fn complain_in_full(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _nobody = io::stderr().write_all(text.as_bytes());
}

/// Writes a remark to standard error.
fn remark(text: &str) {
    let _nobody = writeln!(io::stderr(), "{text}");
}

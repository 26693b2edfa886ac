//! `castoff login` and `logout`: credentials in a file of castoff's own. No store is needed.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use castoff_oci::Reference;
use castoff_registry::{Client, Config, login as keeping};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{Environment, GlobalArgs, LoginArgs, LogoutArgs, fields};
use crate::exit;
use crate::session;

/// A user name or password is not longer than this.
const LIMIT: u64 = 64 << 10;

pub(super) fn login(args: &LoginArgs, global: &GlobalArgs, environment: &Environment) -> anyhow::Result<u8> {
    let (registry, reference) = registry(args.registry.as_deref())?;
    let path = environment.auth_file().context("no place for credentials: set HOME or XDG_CONFIG_HOME")?;
    if global.offline(environment)? {
        anyhow::bail!("a password is tried at its registry, and castoff is offline");
    }
    let config = Config::load(&session::configuration(environment))?;
    let helper = config.credential_helper(&registry);
    let user = match &args.username {
        Some(user) => user.clone(),
        None if io::stdin().is_terminal() => ask("Username: ", true)?,
        None => anyhow::bail!("who logs in? give --username NAME, and the password by --password-stdin"),
    };
    let password = if args.password_stdin {
        let mut password = String::new();
        io::stdin().take(LIMIT).read_to_string(&mut password).context("reading the password")?;
        password.trim_end_matches(['\r', '\n']).to_owned()
    } else if io::stdin().is_terminal() {
        ask("Password: ", false)?
    } else {
        anyhow::bail!("the password comes from a terminal, or from standard input with --password-stdin");
    };
    if user.is_empty() || user.contains(':') || password.is_empty() {
        anyhow::bail!("a user name without `:` and a password are needed");
    }
    let mut client = Client::new(config);
    if args.tls_verify.as_deref().map(fields::boolean).transpose()? == Some(false) {
        client = client.insecure(&registry);
    }
    client.try_login(&reference, &user, &password).with_context(|| format!("logging in to {registry}"))?;
    keeping::keep(&path, &registry, &user, &password)?;
    if let Some(helper) = helper {
        super::remark(&format!(
            "note: `{helper}` keeps credentials of {registry} for other tools; it is left as it is, and castoff \
             asks its own file first"
        ));
    }
    super::remark(&format!("note: the password is kept unencrypted in `{}`", path.display()));
    super::print("Login Succeeded\n")
}

pub(super) fn logout(args: &LogoutArgs, environment: &Environment) -> anyhow::Result<u8> {
    let (registry, _) = registry(args.registry.as_deref())?;
    let path = environment.auth_file().context("no place for credentials: set HOME or XDG_CONFIG_HOME")?;
    if keeping::forget(&path, &registry)? {
        return super::print(&format!("Removed credentials of {registry}\n"));
    }
    super::remark(&format!("castoff keeps no credentials of {registry}; those of other tools are theirs"));
    Ok(exit::SUCCESS)
}

/// Returns a registry's name, and a reference of it. Docker's addresses of itself are understood.
fn registry(text: Option<&str>) -> anyhow::Result<(String, Reference)> {
    let text = text.unwrap_or("docker.io");
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.split('/').next().unwrap_or_default();
    let reference: Reference =
        format!("{host}/login/login").parse().with_context(|| format!("`{text}` is no registry"))?;
    if !host.contains(['.', ':']) && host != "localhost" {
        anyhow::bail!("`{text}` is no registry");
    }
    Ok((reference.registry().to_owned(), reference))
}

/// Leaves the terminal as it was when the program is interrupted at a question. The program ends then.
fn restore_when_interrupted(before: Termios) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _gone_or_restored = termios::tcsetattr(io::stdin(), OptionalActions::Now, &before);
            let _nobody = io::stderr().write_all(b"\n");
            #[expect(clippy::exit, reason = "who is asked has no other way to say no")]
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    Ok(())
}

/// Asks at the terminal for a line, which is shown while it is typed or is not.
pub(super) fn ask(question: &str, shown: bool) -> anyhow::Result<String> {
    let mut stderr = io::stderr();
    stderr.write_all(question.as_bytes())?;
    stderr.flush()?;
    let stdin = io::stdin();
    let before = termios::tcgetattr(&stdin).context("preparing the terminal")?;
    if !shown {
        restore_when_interrupted(before.clone()).context("preparing to be interrupted")?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden).context("preparing the terminal")?;
    }
    let mut line = String::new();
    let read = stdin.lock().take(LIMIT).read_line(&mut line);
    if !shown {
        termios::tcsetattr(&stdin, OptionalActions::Now, &before).context("restoring the terminal")?;
        stderr.write_all(b"\n")?;
    }
    read.context("reading the answer")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

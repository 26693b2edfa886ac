//! The program `git`, run with nothing of this machine's configuration but in the caller's own repositories.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use castoff_graph::remote::{GitSource, redacted, split_credentials};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{GitAccess, credentials};
use crate::World;
use crate::fetch::FetchError;
use crate::redact::Redactor;

/// How the caller runs git.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitProgram {
    /// Variables that git gets: the search path, proxies, certificates. It gets no others.
    pub environment: Vec<(OsString, OsString)>,
    /// Files with the keys of ssh servers. A server that is in none of them is not spoken to.
    pub known_hosts: Vec<PathBuf>,
    /// The socket of the caller's own ssh agent, for contexts (B-067).
    pub agent: Option<PathBuf>,
    /// The caller's home. Its configuration holds in the caller's own repositories alone.
    pub home: Option<PathBuf>,
}

/// What git says of references; a repository with more of them is asked for few.
const OUTPUT_LIMIT: u64 = 4 << 20;
/// What is kept of its complaints.
const MESSAGE_LIMIT: usize = 4 << 10;
/// Longest time until a stop is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// Configuration that makes git do what it is told and nothing besides: it starts no hooks, monitors, helpers
/// or background work, and gives up on a server that says nothing for a minute.
const CONFIGURATION: &[(&str, &str)] = &[
    ("advice.detachedHead", "false"),
    ("core.askPass", ""),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "main"),
    ("maintenance.auto", "false"),
];

fn plain_configuration() -> impl Iterator<Item = (String, String)> {
    CONFIGURATION.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

/// What submodules may be fetched by, too: no files of this machine, no helpers.
const PROTOCOLS: &str = "http:https:ssh:git";

/// Git in a directory that is thrown away, for one repository; or in the caller's own repositories.
pub(super) struct Git<'a> {
    world: &'a World,
    home: &'a Path,
    is_callers_home: bool,
    remote: String,
    configuration: Vec<(String, String)>,
    ssh: String,
    agent: Option<&'a Path>,
}

impl<'a> Git<'a> {
    pub(super) fn new(
        world: &'a World,
        source: &GitSource,
        access: GitAccess<'a>,
        home: &'a Path,
    ) -> Result<Git<'a>, FetchError> {
        let of_secrets = credentials::configuration(&world.secrets, source);
        let configuration = plain_configuration().chain(of_secrets).collect();
        let ssh = ssh_command(&world.git.known_hosts, access.agent);
        // Arguments are for everybody to see.
        let (remote, _credentials) = split_credentials(&source.remote);
        Ok(Git { world, home, is_callers_home: false, remote, configuration, ssh, agent: access.agent })
    }

    /// Returns a git for questions to the caller's own repositories, with the caller's own configuration. It
    /// speaks to no server.
    pub(super) fn at_home(world: &'a World) -> Git<'a> {
        let home = world.git.home.as_deref().unwrap_or(Path::new("/"));
        let (configuration, ssh) = (plain_configuration().collect(), ssh_command(&[], None));
        let remote = "the repository of the context".to_owned();
        Git { world, home, is_callers_home: true, remote, configuration, ssh, agent: None }
    }

    /// Returns the address without credentials.
    pub(super) fn remote(&self) -> &str {
        &self.remote
    }

    /// Runs git in a directory, by default one that is no repository, and returns what it printed.
    pub(super) fn run(&self, directory: Option<&Path>, words: &[&str]) -> Result<String, FetchError> {
        let mut command = Command::new("git");
        command
            .args(words)
            .env_clear()
            .envs(self.world.git.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.home)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_CONFIG_COUNT", self.configuration.len().to_string())
            .current_dir(directory.unwrap_or(self.home))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that what git starts is stopped with it, and the terminal's interrupt is castoff's.
            .process_group(0);
        if !self.is_callers_home {
            command
                .env("XDG_CONFIG_HOME", self.home)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_ATTR_NOSYSTEM", "1")
                // The store may lie in somebody's repository.
                .env("GIT_CEILING_DIRECTORIES", self.home.parent().unwrap_or(self.home));
        }
        for (index, (name, value)) in self.configuration.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        if let Some(agent) = self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FetchError::NoGit,
            _ => FetchError::Io(error),
        })?;
        let (status, stdout, stderr) = self.wait(child)?;
        if status.success() {
            return Ok(stdout);
        }
        let step = words.first().copied().unwrap_or_default().to_owned();
        Err(FetchError::Git { remote: redacted(&self.remote), step, message: self.shown(&stderr) })
    }

    /// Waits for the end, or for a stop, which is the end of all that git has started.
    fn wait(&self, mut child: Child) -> Result<(ExitStatus, String, Vec<u8>), FetchError> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let (ended, end) = crossbeam_channel::bounded::<()>(2);
            let (of_stdout, of_stderr) = (ended.clone(), ended);
            let stdout = scope.spawn(move || {
                let mut text = Vec::new();
                let read = stdout.map(|pipe| pipe.take(OUTPUT_LIMIT).read_to_end(&mut text));
                drop(of_stdout);
                (text, read.transpose())
            });
            let stderr = scope.spawn(move || {
                let text = stderr.map(last_bytes).unwrap_or_default();
                drop(of_stderr);
                text
            });
            let mut stopped = false;
            while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = end.recv_timeout(GLANCE) {
                if self.world.cancel.is_cancelled() && !stopped {
                    stopped = true;
                    let _ended_by_itself = kill_process_group(Pid::from_child(&child), Signal::KILL);
                }
            }
            let status = child.wait()?;
            let (text, read) = stdout.join().expect("a reader does not panic");
            let stderr = stderr.join().expect("a reader does not panic");
            if stopped || self.world.cancel.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            read?;
            Ok((status, String::from_utf8_lossy(&text).into_owned(), stderr))
        })
    }

    /// Git's complaint for people: its last lines, without secrets and without what steers a terminal.
    fn shown(&self, stderr: &[u8]) -> String {
        let secrets = self.world.secrets.values().map(|secret| secret.0.clone());
        let mut redactor = Redactor::new(secrets);
        let mut text = redactor.push(stderr);
        text.extend(redactor.finish());
        let text = redacted(&String::from_utf8_lossy(&text));
        let clean = |line: &str| line.chars().filter(|next| !next.is_control()).collect::<String>();
        let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(6)..].join("; ")
    }
}

/// Reads a pipe to its end and keeps the last of it.
fn last_bytes(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * MESSAGE_LIMIT {
            kept.drain(..kept.len() - MESSAGE_LIMIT);
        }
    }
    kept
}

/// Returns how git runs ssh: without anybody's configuration, with the keys of an agent alone, to servers
/// that are known.
fn ssh_command(known_hosts: &[PathBuf], agent: Option<&Path>) -> String {
    let files: Vec<String> = known_hosts.iter().map(|path| format!("\"{}\"", path.display())).collect();
    let agent = agent.map_or_else(|| "none".to_owned(), |agent| format!("\"{}\"", agent.display()));
    let options = [
        "BatchMode=yes".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "ServerAliveInterval=15".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "GlobalKnownHostsFile=none".to_owned(),
        format!("UserKnownHostsFile={}", if files.is_empty() { "none".to_owned() } else { files.join(" ") }),
        "IdentityFile=none".to_owned(),
        format!("IdentityAgent={agent}"),
    ];
    let quoted = options.iter().map(|option| format!(" -o '{}'", option.replace('\'', r"'\''")));
    format!("ssh -F /dev/null{}", quoted.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{last_bytes, ssh_command};

    // D-241
    #[test]
    fn ssh_speaks_to_known_servers_with_the_keys_of_the_agent() {
        let command =
            ssh_command(&[PathBuf::from("/h o/known"), PathBuf::from("/b")], Some(Path::new("/it's")));
        assert!(command.starts_with("ssh -F /dev/null -o 'BatchMode=yes'"), "{command}");
        assert!(command.contains(r#" -o 'UserKnownHostsFile="/h o/known" "/b"'"#), "{command}");
        assert!(command.ends_with(r#" -o 'IdentityAgent="/it'\''s"'"#), "{command}");
        assert!(
            ssh_command(&[], None)
                .ends_with("UserKnownHostsFile=none' -o 'IdentityFile=none' -o 'IdentityAgent=none'")
        );
    }

    #[test]
    fn the_last_of_a_complaint_is_kept() {
        let long: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        let kept = last_bytes(long.as_slice());
        assert!(kept.len() <= 2 * super::MESSAGE_LIMIT && long.ends_with(&kept));
        assert_eq!(last_bytes(&b"short"[..]), b"short");
    }
}

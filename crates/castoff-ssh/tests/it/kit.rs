//! A directory with a served agent, and OpenSSH's programs talking to it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use castoff_ssh::{Agent, Key, Served};
use tempfile::TempDir;

/// A directory for keys and sockets.
pub struct Kit {
    directory: TempDir,
}

/// OpenSSH's agent, which ends with this value.
pub struct RealAgent {
    process: Child,
    pub socket: PathBuf,
}

impl Kit {
    pub fn new() -> Kit {
        Kit { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a key without a passphrase and returns its text.
    pub fn keygen(&self, name: &str, flags: &[&str]) -> Vec<u8> {
        let path = self.path(name);
        let path = path.to_str().unwrap();
        let words = [&["-q", "-N", "", "-C", name, "-f", path], flags].concat();
        succeeds(Command::new("ssh-keygen").args(words));
        fs::read(path).unwrap()
    }

    /// Serves an agent at `socket` in this directory.
    pub fn serve(&self, agent: Agent) -> Served {
        Arc::new(agent).serve(self.directory.path(), "socket").unwrap()
    }

    /// Serves one key.
    pub fn serve_key(&self, text: &[u8]) -> Served {
        self.serve(Agent::Keys(vec![Key::parse(text, "comment").unwrap()]))
    }

    /// One of ssh's programs, with the served agent.
    pub fn ssh(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(words).env("SSH_AUTH_SOCK", self.path("socket")).current_dir(self.directory.path());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Signs through the agent with the key whose public half is in `name.pub`, and verifies that.
    pub fn signs(&self, name: &str) -> Result<(), String> {
        let public = format!("{name}.pub");
        fs::write(self.path("data"), "what is signed").unwrap();
        let _of_an_earlier_one = fs::remove_file(self.path("data.sig"));
        let done = self.ssh("ssh-keygen", &["-q", "-Y", "sign", "-f", &public, "-n", "file", "data"]);
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let signers = format!("me {}", fs::read_to_string(self.path(&public)).unwrap());
        fs::write(self.path("signers"), signers).unwrap();
        let words = ["-Y", "verify", "-f", "signers", "-I", "me", "-n", "file", "-s", "data.sig"];
        let mut command = Command::new("ssh-keygen");
        command
            .args(words)
            .current_dir(self.directory.path())
            .stdin(fs::File::open(self.path("data")).unwrap());
        let done = command.output().unwrap();
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stdout).into_owned()) }
    }

    /// Starts OpenSSH's agent with one key, whose file is `name`.
    pub fn real_agent(&self, name: &str) -> RealAgent {
        let socket = self.path("real");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stdin(Stdio::null());
        let mut agent = RealAgent { process: command.spawn().unwrap(), socket };
        let mut tries = 0;
        loop {
            let mut add = Command::new("ssh-add");
            let added = add.arg("-q").arg(self.path(name)).env("SSH_AUTH_SOCK", &agent.socket).output();
            if added.is_ok_and(|output| output.status.success()) {
                return agent;
            }
            tries += 1;
            assert!(tries < 500 && agent.process.try_wait().unwrap().is_none(), "the agent does not answer");
            std::thread::yield_now();
        }
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

#[track_caller]
pub fn succeeds(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

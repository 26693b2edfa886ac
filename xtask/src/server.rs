//! A server in the background that ends when its owner does.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{show, tail};
use crate::http::{self, Answer};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// A running child process whose output goes to a file.
pub struct Server {
    child: Child,
    shown: String,
    log: PathBuf,
}

impl Server {
    /// Starts the command with its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Server> {
        let shown = show(command);
        let file = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        // A server that opens /dev/stderr opens this file anew, maybe as another user.
        file.set_permissions(Permissions::from_mode(0o666))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        Ok(Server { child, shown, log: log.to_owned() })
    }

    /// Asks until the server answers, exits, or the time is up.
    pub fn get(&mut self, port: u16, path: &str) -> Result<Answer> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(answer) = http::get(port, path) {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("`{}` ended ({status}) before it answered\n{}", self.shown, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("`{}` did not answer in {START_LIMIT:?}\n{}", self.shown, self.last_words());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks it to end as an orchestrator would, and says whether it did so by itself in time.
    pub fn stop(&mut self) -> Result<bool> {
        let pid = self.child.id().to_string();
        if self.child.try_wait()?.is_none() {
            Command::new("kill").args(["-TERM", &pid]).status().context("cannot run `kill`")?;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(false)
    }

    /// Returns the number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether it ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Returns the end of what it printed.
    pub fn last_words(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), 30)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever goes wrong here, the process was ended or had ended before.
        let _ = self.stop();
    }
}

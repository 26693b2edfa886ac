//! An emulator for one process and its children, without a word to the machine.
//!
//! Since Linux 6.7 each user namespace has a binfmt_misc of its own. The emulator is registered in that of
//! a new user namespace, in which all ids mean the same; the process enters it as the last thing before it
//! gives up its rights. The kernel opens the emulator when it is registered (the flag F), so nothing of it
//! is in the root of the process.
//!
//! ```text
//! helper                                   registrar, its child
//!                                          makes a user and a mount namespace
//! writes the maps of ids      <- 'r' --
//!                             -- 'm' ->    mounts binfmt_misc and registers
//! keeps both descriptors      <- mount --  ends
//! ```
//!
//! Registrations last as long as somebody holds the mount: the helper and the init do.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::binfmt::Emulator;
use crate::child::{Failure, Step};
use crate::sys::{self, Fork};
use crate::{control, mounts, user};

/// The hidden argument that makes this program try an emulator.
pub(crate) const TRIAL_ARGUMENT: &str = "__emulator";

/// A user namespace with an emulator in it.
pub(crate) struct Emulation {
    namespace: OwnedFd,
    _registrations: OwnedFd,
}

impl Emulation {
    /// Makes the namespace. To be called with one thread, while /proc is that of this process.
    pub(crate) fn prepare(emulator: &Emulator) -> Result<Emulation, Failure> {
        const STEP: &str = "preparing an emulator";
        let said = |message: String| Failure::said(STEP, message);
        let registration = emulator.registration().map_err(said)?;
        let (mut ours, theirs) = UnixStream::pair().step(STEP)?;
        let pid = match sys::fork().step(STEP)? {
            Fork::Child => {
                drop(ours);
                if let Err(failure) = register(theirs.try_clone(), &registration) {
                    let _nobody_listens = (&theirs).write_all(failure.to_string().as_bytes());
                }
                sys::exit_now(0);
            }
            Fork::Parent(pid) => pid,
        };
        drop(theirs);
        let made = (|| {
            let mut ready = [0];
            if ours.read(&mut ready).step(STEP)? != 1 || ready != *b"r" {
                let mut rest = ready.to_vec();
                ours.read_to_end(&mut rest).step(STEP)?;
                return Err(said(String::from_utf8_lossy(&rest).into_owned()));
            }
            for (file, ranges) in user::identity_maps() {
                fs::write(format!("/proc/{pid}/{file}"), ranges).step("mapping ids for an emulator")?;
            }
            let namespace = File::open(format!("/proc/{pid}/ns/user")).step(STEP)?.into();
            ours.write_all(b"m").step(STEP)?;
            let mut text = [0; 512];
            let (count, mount) = control::receive(&ours, &mut text).step(STEP)?;
            let refused = || said(String::from_utf8_lossy(&text[..count]).into_owned());
            Ok(Emulation { namespace, _registrations: mount.ok_or_else(refused)? })
        })();
        drop(ours);
        sys::wait_for(pid).step(STEP)?;
        made
    }

    /// Enters the namespace, where this process has all capabilities.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        let kind = Some(LinkNameSpaceType::User);
        rustix::thread::move_into_link_name_space(self.namespace.as_fd(), kind)
            .step("entering the namespace of the emulator")
    }
}

/// The registrar's work.
fn register(helper: io::Result<UnixStream>, registration: &[u8]) -> Result<(), Failure> {
    let mut helper = helper.step("preparing an emulator")?;
    sys::die_with_parent().step("tying the registrar to the helper")?;
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).step("making a user namespace for an emulator")?;
    helper.write_all(b"r").step("talking to the helper")?;
    let mut go = [0];
    if helper.read(&mut go).step("talking to the helper")? == 0 {
        return Ok(());
    }
    let mount = mounts::binfmt_misc()?;
    let file = rustix::fs::openat(&mount, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .step("registering the emulator")?;
    File::from(file).write_all(registration).step("registering the emulator")?;
    control::send(&helper, b' ', Some(mount.as_fd())).step("talking to the helper")
}

/// Tries an emulator in a process of its own, so that the caller may have threads.
pub(crate) fn trial(emulator: &Emulator) -> Result<(), String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(TRIAL_ARGUMENT).arg(&emulator.architecture).arg(&emulator.interpreter).env_clear();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| format!("trying an emulator: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The other side of [`trial`]; does not return.
pub(crate) fn trial_main(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> ! {
    let architecture = arguments.next().unwrap_or_default().to_string_lossy().into_owned();
    let interpreter = PathBuf::from(arguments.next().unwrap_or_default());
    let code = match Emulation::prepare(&Emulator { interpreter, architecture }) {
        Ok(_) => 0,
        Err(failure) => {
            let _nobody_listens = writeln!(io::stderr(), "{failure}");
            1
        }
    };
    sys::exit_now(code)
}

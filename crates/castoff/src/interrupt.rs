//! Ctrl-C and its kin: the first stops the build, the second the program (B-005).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use castoff_sandbox::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// Whether an interruption came.
#[derive(Debug, Clone, Default)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Returns whether one came.
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Watches for interruptions on a thread of its own, for the life of the process.
///
/// # Errors
/// When the signals cannot be taken over.
pub fn watch(cancel: &Cancel) -> std::io::Result<Interrupted> {
    let interrupted = Interrupted::default();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP])?;
    let (flag, cancel) = (interrupted.clone(), cancel.clone());
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if flag.0.swap(true, Ordering::SeqCst) {
                // Steps die with this process, and the store is valid at any moment.
                #[expect(clippy::exit, reason = "the second interruption ends the program at once")]
                std::process::exit(i32::from(crate::exit::INTERRUPTED));
            }
            cancel.cancel();
        }
    });
    Ok(interrupted)
}

//! How many blobs come from one host at once (B-081), and waiting that can be stopped.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::RegistryError;

/// Longest time until a stop is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// Tells whether all waiting should end.
#[derive(Clone)]
pub(crate) struct Stop(pub(crate) Arc<dyn Fn() -> bool + Send + Sync>);

impl Stop {
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        if (self.0)() { Err(RegistryError::Stopped) } else { Ok(()) }
    }

    /// Waits for a while.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), RegistryError> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}

/// The slots of all hosts.
#[derive(Default)]
pub(crate) struct Slots {
    taken: Mutex<HashMap<String, usize>>,
    freed: Condvar,
}

/// A slot that is taken; free again when dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    host: String,
}

impl Slots {
    /// Waits for one of `limit` slots of a host.
    pub(crate) fn take(
        self: &Arc<Slots>,
        host: &str,
        limit: usize,
        stop: &Stop,
    ) -> Result<Slot, RegistryError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            stop.check()?;
            let count = taken.entry(host.to_owned()).or_default();
            if *count < limit.max(1) {
                *count += 1;
                return Ok(Slot { slots: Arc::clone(self), host: host.to_owned() });
            }
            (taken, _) = self.freed.wait_timeout(taken, GLANCE).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.host) {
            *count -= 1;
        }
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::{Slots, Stop};
    use crate::error::RegistryError;

    /// B-081.
    #[test]
    fn a_host_has_so_many_slots() {
        let slots = Arc::new(Slots::default());
        let never = Stop(Arc::new(|| false));
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let _slot = slots.take("a.example", 3, &never).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.into_inner() <= 3);
    }

    #[test]
    fn waiting_is_stopped() {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let stop = Stop(Arc::new(move || flag.load(Ordering::SeqCst)));
        let slots = Arc::new(Slots::default());
        let _held = slots.take("a.example", 1, &stop).unwrap();
        let _of_another = slots.take("b.example", 1, &stop).unwrap();
        stopped.store(true, Ordering::SeqCst);
        assert!(matches!(slots.take("a.example", 1, &stop), Err(RegistryError::Stopped)));
        assert!(matches!(stop.wait(Duration::from_secs(3600)), Err(RegistryError::Stopped)));
    }
}

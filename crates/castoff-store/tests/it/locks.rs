use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use castoff_store::LockError;

use crate::{Kit, key};

#[test]
fn one_holder_at_a_time_between_handles_and_threads() {
    let kit = Kit::new();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let store = kit.other();
            let inside = &inside;
            scope.spawn(move || {
                for _ in 0..20 {
                    let lock = store.lock(&key("job"), &|| false).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert!(
        crate::below(&kit.path("locks")) == [kit.path("locks")]
            || crate::below(&kit.path("locks")).is_empty()
    );
}

#[test]
fn a_wait_can_be_cancelled() {
    let kit = Kit::new();
    let _held = kit.store.lock(&key("job"), &|| false).unwrap();
    let error = kit.other().lock(&key("job"), &|| true).unwrap_err();
    assert!(matches!(error, LockError::Cancelled));
    assert_eq!(error.to_string(), "waiting for a lock was cancelled");
    kit.store.lock(&key("another job"), &|| true).unwrap();
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_released() {
    let kit = Kit::new();
    let held = kit.store.lock(&key("job"), &|| false).unwrap();
    let (waiting, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let other = kit.other();
        let waiter = scope.spawn(move || {
            let asked = || {
                let _ = waiting.send(());
                false
            };
            other.lock(&key("job"), &asked).map(drop)
        });
        is_waiting.recv().unwrap();
        drop(held);
        waiter.join().unwrap().unwrap();
    });
}

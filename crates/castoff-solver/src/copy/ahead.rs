//! Listing directories before a walk gets to them.
//!
//! A walk over a large tree waits for the kernel, file by file. Its order is known, and so are the directories
//! that it comes to: other threads list them meanwhile, and what comes out does not depend on them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex};
use std::thread::Scope;

use castoff_layer::{Node, View, ViewError};

use crate::bodies::lock;

/// So many directories are worth threads.
const MANY: usize = 16;
/// More threads than this get in each other's way.
const MOST_THREADS: usize = 8;
/// So many listings may wait for the walk.
const MOST_WAITING: usize = 256;

/// What is directly in a directory, by name.
pub(super) type Listing = Vec<(Vec<u8>, Node)>;

/// The listings of one walk.
pub(super) struct Ahead<'v> {
    view: &'v View,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    directories: HashMap<Vec<u8>, Directory>,
    /// Those that are still to be listed, in the order of the walk, and some that are not any more.
    order: VecDeque<Vec<u8>>,
    waiting: usize,
    announced: usize,
    threads: usize,
    over: bool,
}

enum Directory {
    Wanted,
    BeingListed,
    Listed(Result<Listing, ViewError>),
}

/// The end of a walk.
pub(super) struct Ending<'a> {
    state: &'a Mutex<State>,
    changed: &'a Condvar,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        lock(self.state).over = true;
        self.changed.notify_all();
    }
}

impl<'v> Ahead<'v> {
    pub(super) fn new(view: &'v View) -> Ahead<'v> {
        Ahead { view, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Says that the walk will come to these directories, in this order, before it comes to any that was
    /// announced earlier. It has to come to them, or be over.
    pub(super) fn announce<'s, 'e>(&'s self, paths: Vec<Vec<u8>>, scope: &'s Scope<'s, 'e>) {
        if paths.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        state.announced += paths.len();
        for path in paths.into_iter().rev() {
            state.directories.insert(path.clone(), Directory::Wanted);
            state.order.push_front(path);
        }
        if state.announced >= MANY && state.threads == 0 {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            // The walk is one more.
            state.threads = processors.min(MOST_THREADS);
            for _ in 1..state.threads {
                // Without a thread the walk lists everything itself.
                let _fewer = std::thread::Builder::new().spawn_scoped(scope, || self.work());
            }
        }
        self.changed.notify_all();
    }

    /// Returns what is in a directory.
    pub(super) fn list(&self, path: &[u8]) -> Result<Listing, ViewError> {
        let mut state = lock(&self.state);
        loop {
            match state.directories.get(path) {
                Some(Directory::BeingListed) => {
                    state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                Some(Directory::Listed(_)) => {
                    let Some(Directory::Listed(listing)) = state.directories.remove(path) else {
                        unreachable!("it was there a moment ago");
                    };
                    state.waiting -= 1;
                    self.changed.notify_all();
                    return listing;
                }
                Some(Directory::Wanted) | None => {
                    state.directories.remove(path);
                    drop(state);
                    return self.view.read_dir(path);
                }
            }
        }
    }

    /// Lets the threads end when what is returned is dropped.
    pub(super) fn ending(&self) -> Ending<'_> {
        Ending { state: &self.state, changed: &self.changed }
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        while !state.over {
            let next = if state.waiting < MOST_WAITING { state.order.pop_front() } else { None };
            let Some(path) = next else {
                state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            // The walk may have been there first.
            if !matches!(state.directories.get(&path), Some(Directory::Wanted)) {
                continue;
            }
            state.directories.insert(path.clone(), Directory::BeingListed);
            drop(state);
            let listing = self.view.read_dir(&path);
            state = lock(&self.state);
            state.directories.insert(path, Directory::Listed(listing));
            state.waiting += 1;
            self.changed.notify_all();
        }
    }
}

//! The digest of what is written, computed beside the writing once there is much of it.
//!
//! Writing a page costs the kernel about as much as hashing it costs us, so two processors halve the time of
//! a large blob. A small one is hashed where it is written: a thread costs more than that.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use castoff_oci::{Digest, Hasher};

/// From here on there is a thread.
const MUCH: u64 = 2 << 20;
/// Bytes are handed over in pieces of this size.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait; more make the writer wait, so that memory stays bounded.
const WAITING: usize = 8;

/// Computes a digest of bytes that come in pieces.
pub(crate) struct Hashing {
    state: State,
    size: u64,
}

enum State {
    Here(Box<Hasher>),
    Beside(Beside),
}

struct Beside {
    /// What is not handed over yet.
    piece: Vec<u8>,
    pieces: SyncSender<Vec<u8>>,
    /// Pieces that are done with, to be filled again.
    emptied: Receiver<Vec<u8>>,
    thread: JoinHandle<Hasher>,
}

impl Hashing {
    pub(crate) fn new() -> Hashing {
        Hashing { state: State::Here(Box::default()), size: 0 }
    }

    /// Returns how many bytes were added.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.state {
            State::Here(hasher) => {
                hasher.update(bytes);
                if self.size >= MUCH
                    && let Some(beside) = Beside::start(hasher)
                {
                    self.state = State::Beside(beside);
                }
            }
            State::Beside(beside) => beside.update(bytes),
        }
    }

    /// Returns the digest of all bytes added.
    pub(crate) fn finish(self) -> Digest {
        match self.state {
            State::Here(hasher) => hasher.finish(),
            State::Beside(beside) => beside.finish(),
        }
    }
}

impl Beside {
    /// Goes on in a thread with what `hasher` has seen; without a second processor there is none.
    fn start(hasher: &Hasher) -> Option<Beside> {
        if !std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
            return None;
        }
        let (pieces, received) = sync_channel::<Vec<u8>>(WAITING);
        let (done, emptied) = channel();
        let mut hasher = hasher.clone();
        let work = move || {
            for mut piece in received {
                hasher.update(&piece);
                piece.clear();
                // The writer may be done with it all.
                let _not_needed = done.send(piece);
            }
            hasher
        };
        let thread = std::thread::Builder::new().name("digest".to_owned()).spawn(work).ok()?;
        Some(Beside { piece: Vec::with_capacity(PIECE), pieces, emptied, thread })
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                let next = self.emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
                let full = std::mem::replace(&mut self.piece, next);
                self.pieces.send(full).expect("the thread takes pieces until there are no more");
            }
        }
    }

    fn finish(self) -> Digest {
        self.pieces.send(self.piece).expect("the thread takes pieces until there are no more");
        drop(self.pieces);
        self.thread.join().expect("hashing does not panic").finish()
    }
}

#[cfg(test)]
mod tests {
    use castoff_oci::Digest;

    use super::{Hashing, MUCH, PIECE};

    #[test]
    fn the_digest_does_not_depend_on_where_it_is_computed_or_on_the_pieces() {
        let bytes: Vec<u8> = (0..MUCH as u32 * 2).map(|number| (number % 251) as u8).collect();
        for length in [0, 1, MUCH as usize - 1, MUCH as usize, MUCH as usize + 1, bytes.len()] {
            for piece in [777, PIECE, PIECE + 1, bytes.len()] {
                let mut hashing = Hashing::new();
                bytes[..length].chunks(piece).for_each(|piece| hashing.update(piece));
                assert_eq!(hashing.size(), length as u64);
                assert_eq!(hashing.finish(), Digest::of(&bytes[..length]), "{length} in {piece}");
            }
        }
    }

    #[test]
    fn what_is_not_finished_leaves_no_thread() {
        let mut hashing = Hashing::new();
        hashing.update(&vec![1; MUCH as usize * 2]);
        let super::State::Beside(beside) = hashing.state else { return };
        let super::Beside { pieces, thread, .. } = beside;
        drop(pieces);
        thread.join().unwrap();
    }
}

//! What is behind a served socket, and what it answers.

use std::path::PathBuf;

use crate::key::Key;
use crate::wire::{self, FAILURE, KEYS, LIST, SIGN, SIGNATURE, put_number, put_string};

/// Keys that steps may use.
#[derive(Debug)]
pub enum Agent {
    /// Those of a running agent.
    Forwarded(PathBuf),
    /// Those in memory.
    Keys(Vec<Key>),
}

/// What becomes of a request.
pub(crate) enum Verdict {
    /// The running agent answers it.
    Forward,
    /// This is the answer, without its length.
    Answer(Vec<u8>),
}

impl Agent {
    /// Decides about a request, without its length.
    pub(crate) fn decide(&self, request: &[u8]) -> Verdict {
        if !wire::is_read_only(request) {
            return Verdict::Answer(vec![FAILURE]);
        }
        match self {
            Agent::Forwarded(_) => Verdict::Forward,
            Agent::Keys(keys) => Verdict::Answer(answer(keys, request).unwrap_or_else(|| vec![FAILURE])),
        }
    }
}

fn answer(keys: &[Key], request: &[u8]) -> Option<Vec<u8>> {
    let (kind, mut rest) = request.split_first()?;
    match *kind {
        LIST => {
            let mut message = vec![KEYS];
            put_number(&mut message, keys.len());
            for key in keys {
                put_string(&mut message, key.public());
                put_string(&mut message, key.comment().as_bytes());
            }
            Some(message)
        }
        SIGN => {
            let public = wire::string(&mut rest)?;
            let data = wire::string(&mut rest)?;
            let flags = wire::number(&mut rest)?;
            let key = keys.iter().find(|key| key.public() == public)?;
            let mut message = vec![SIGNATURE];
            put_string(&mut message, &key.sign(data, flags)?);
            Some(message)
        }
        // Extensions are optional.
        _ => None,
    }
}

//! Blobs: immutable bytes under the name of their digest.
//!
//! A blob exists whole or not at all, and its name is computed from the very bytes that were written. Two
//! writers of one blob both do the work; the first rename wins and the other is dropped.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use castoff_oci::Digest;

use crate::Store;
use crate::file::{Action, FileError, failed, is_absent, move_into_place, sharded, touch};
use crate::hashing::Hashing;

/// A blob that the store had when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes are. Not to be written to.
    pub path: PathBuf,
}

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not those that were asked for.
    #[error("expected the content of `{expected}` and got that of `{actual}`")]
    Mismatch {
        /// What was to be written.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The blob is larger than its reader allows.
    #[error("blob `{digest}` has {size} bytes, more than the {limit} allowed here")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// What the reader allows, in bytes.
        limit: u64,
    },
    /// A file of the store could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Writes a blob whose digest is not known before its last byte. Dropped unfinished, it leaves nothing.
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: Option<io::BufWriter<File>>,
    hashing: Hashing,
}

impl Store {
    /// Returns the blob if it is here, and marks it as used.
    pub fn blob(&self, digest: &Digest) -> Option<Blob> {
        let path = self.blob_path(digest);
        let metadata = touch(&path)?;
        Some(Blob { digest: *digest, size: metadata.len(), path })
    }

    /// Opens the blob if it is here, and marks it as used. The bytes are those that were verified when they
    /// were written.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, BlobError> {
        let path = self.blob_path(digest);
        if touch(&path).is_none() {
            return Ok(None);
        }
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(Action::Open, &path)(error).into()),
        }
    }

    /// Returns the bytes of a small blob if it is here, verified. A blob that the disk has changed is removed
    /// and absent.
    ///
    /// # Errors
    /// When the blob has more than `limit` bytes or cannot be read.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.blob_path(digest);
        let Some(mut file) = self.open_blob(digest)? else { return Ok(None) };
        let size = file.metadata().map_err(failed(Action::Read, &path))?.len();
        if size > limit {
            return Err(BlobError::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed(Action::Read, &path))?;
        if Digest::of(&bytes) != *digest {
            let _ = fs::remove_file(&path);
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Returns a writer for a new blob.
    ///
    /// # Errors
    /// When no temporary file can be created.
    pub fn blob_writer(&self) -> Result<BlobWriter, BlobError> {
        let path = self.temporary_path()?;
        // Read-only from the start: the mode counts for who opens the file later.
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .map_err(failed(Action::Create, &path))?;
        let file = Some(io::BufWriter::with_capacity(128 * 1024, file));
        Ok(BlobWriter { store: self.clone(), path, file, hashing: Hashing::new() })
    }

    /// Makes sure that a blob with these bytes is in the store.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Blob, BlobError> {
        if let Some(blob) = self.blob(&Digest::of(bytes)) {
            return Ok(blob);
        }
        let mut writer = self.blob_writer()?;
        let path = writer.path.clone();
        writer.write_all(bytes).map_err(failed(Action::Write, &path))?;
        writer.finish(None)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path(sharded("blobs/sha256", &digest.hex(), ""))
    }
}

impl BlobWriter {
    /// Returns how many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.hashing.size()
    }

    /// Puts the bytes into the store. Success means that the blob is there, not that this call put it there.
    ///
    /// # Errors
    /// When the bytes are not those of `expected`, or cannot be written; nothing is left then.
    pub fn finish(mut self, expected: Option<Digest>) -> Result<Blob, BlobError> {
        let size = self.size();
        let digest = std::mem::replace(&mut self.hashing, Hashing::new()).finish();
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(BlobError::Mismatch { expected, actual: digest });
        }
        if let Some(blob) = self.store.blob(&digest) {
            return Ok(blob);
        }
        let mut file = self.file.take().expect("only `finish` takes the file");
        file.flush().map_err(failed(Action::Write, &self.path))?;
        drop(file);
        let path = self.store.blob_path(&digest);
        move_into_place(&self.path, &path)?;
        Ok(Blob { digest, size, path })
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BlobWriter").field("path", &self.path).field("size", &self.size()).finish()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().expect("only `finish` takes the file");
        let count = file.write(bytes)?;
        self.hashing.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("only `finish` takes the file").flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Without its buffered rest: the file goes anyway.
        if let Some(file) = self.file.take() {
            let _ = file.into_parts();
        }
        let _ = fs::remove_file(&self.path);
    }
}

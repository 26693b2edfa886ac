//! ADD of a tar archive (D-232, D-233).
//!
//! An archive is read twice: once for the plan, once for the data of the members that are in the layer.
//! That costs a second decompression, and saves keeping all of its data anywhere.

use std::collections::BTreeMap;
use std::io::Read;

use castoff_layer::{
    Entry, EntryKind, Node, ReadOptions, TarReadError, View, ViewError, decompress, is_tar, read_tar,
};
use castoff_oci::Digest;

use super::digest::content_digest;
use super::scene::{Data, Planned, Scene};
use super::{CopyError, join, shown, split};

/// The metadata of the last hard link to each member that has one.
type Relinked = BTreeMap<u64, Entry>;

/// Sees an entry of an archive: its number, its metadata, its data.
type Visit<'a> = dyn FnMut(u64, Entry, &mut dyn Read) -> Result<(), CopyError> + 'a;

/// A file that is a tar archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Archive<'a> {
    pub(super) view: &'a View,
    pub(super) node: &'a Node,
    /// What its digest has to be still.
    pub(super) known: Option<&'a Digest>,
}

/// Returns whether a file is a tar archive, compressed or not. The name means nothing.
pub(super) fn is_archive(view: &View, node: &Node) -> Result<bool, CopyError> {
    if !matches!(node.entry.kind, EntryKind::File { size: 1.. }) {
        return Ok(false);
    }
    // What cannot be decompressed is no archive; if it cannot be read, copying it will say so.
    let Ok((_, reader)) = decompress(view.open(node)?) else { return Ok(false) };
    let mut header = Vec::with_capacity(512);
    Ok(reader.take(512).read_to_end(&mut header).is_ok() && is_tar(&header))
}

impl Archive<'_> {
    /// Calls `visit` with each member, in order, and its position.
    pub(super) fn read(&self, visit: &mut Visit<'_>) -> Result<(), CopyError> {
        let io_error = |source| CopyError::View(ViewError::Io { path: shown(&self.node.entry.path), source });
        let (_, mut reader) = decompress(self.view.open(self.node)?).map_err(io_error)?;
        let mut member = 0;
        let mut failure = None;
        let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
        let result =
            read_tar(&mut reader, options, &mut |entry, data, _offset| match visit(member, entry, data) {
                Ok(()) => {
                    member += 1;
                    Ok(())
                }
                Err(error) => {
                    failure = Some(error);
                    Err(stop())
                }
            });
        match (failure, result) {
            (Some(error), _) => Err(error),
            (None, Err(source)) => Err(CopyError::Archive { archive: self.name(), source }),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Adds all members to the plan.
    pub(super) fn plan(
        &self,
        archive: usize,
        top: &[u8],
        owner: Option<(u32, u32)>,
        scene: &mut Scene<'_>,
    ) -> Result<(), CopyError> {
        let mut place = Place { top, recent: None };
        let mut relinked = Relinked::new();
        self.read(&mut |member, mut entry, _data| {
            if entry.path.is_empty() {
                return Ok(());
            }
            let written = std::mem::take(&mut entry.path);
            entry.path = place.of(&written, scene)?;
            if entry.path.is_empty() {
                return Ok(());
            }
            if let Some((uid, gid)) = owner {
                (entry.uid, entry.gid) = (uid, gid);
            }
            match &entry.kind {
                EntryKind::Directory { .. } => {
                    if !matches!(scene.kind(&entry.path)?, None | Some(EntryKind::Directory { .. })) {
                        place.recent = None;
                    }
                    scene.put_directory(entry, Data::None, true)
                }
                EntryKind::File { .. } => {
                    place.recent = None;
                    scene.put_file(entry, Data::Archive { archive, member }, true)
                }
                EntryKind::Hardlink { target } => {
                    place.recent = None;
                    let target = place.of(&target.clone(), scene)?;
                    self.link(&written, entry, &target, scene, &mut relinked)
                }
                EntryKind::Symlink { .. }
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Socket
                | EntryKind::Whiteout => {
                    place.recent = None;
                    scene.put_file(entry, Data::None, true)
                }
            }
        })?;
        if relinked.is_empty() {
            return Ok(());
        }
        for planned in scene.plan.values_mut() {
            let Data::Archive { archive: of, member } = planned.data else { continue };
            if let Some(entry) = relinked.get(&member).filter(|_| of == archive) {
                let Entry { mode, uid, gid, mtime, .. } = *entry;
                planned.entry = Entry { mode, uid, gid, mtime, ..planned.entry.clone() };
            }
        }
        Ok(())
    }

    /// A hard link is one more name for what its target is at this moment. Its own metadata is that of
    /// all names from now on, as it is for whoever unpacks an archive entry by entry.
    fn link(
        &self,
        written: &[u8],
        entry: Entry,
        target: &[u8],
        scene: &mut Scene<'_>,
        relinked: &mut Relinked,
    ) -> Result<(), CopyError> {
        let missing =
            || CopyError::ArchiveLink { archive: self.name(), path: shown(written), target: shown(target) };
        if entry.path == target {
            return Ok(());
        }
        let (linked, data) = match scene.plan.get(target) {
            Some(Planned { entry, data, .. }) => {
                let data = match data {
                    Data::None => Data::None,
                    Data::Source { source, root, node } => {
                        Data::Source { source: *source, root: *root, node: node.clone() }
                    }
                    Data::Parent(node) => Data::Parent(node.clone()),
                    Data::Inline(index) => Data::Inline(*index),
                    Data::Archive { archive, member } => Data::Archive { archive: *archive, member: *member },
                };
                (entry.clone(), data)
            }
            None => {
                scene.kind(target)?.ok_or_else(missing)?;
                let node = scene.parent.lookup(target)?.ok_or_else(missing)?;
                (scene.parent.complete(&node)?, Data::Parent(node))
            }
        };
        if matches!(linked.kind, EntryKind::Directory { .. }) {
            return Err(missing());
        }
        if let Data::Archive { member, .. } = data {
            relinked.insert(member, entry.clone());
        }
        scene.put_file(Entry { path: entry.path, ..linked }, data, true)
    }

    /// Fails unless the archive is the one that was looked up.
    pub(super) fn check(&self) -> Result<(), CopyError> {
        match self.known {
            Some(known) if content_digest(self.view, self.node)? != *known => {
                Err(CopyError::ArchiveChanged { archive: self.name() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn name(&self) -> String {
        shown(&self.node.entry.path)
    }
}

/// Ends a reading; the error itself is never seen.
fn stop() -> TarReadError {
    TarReadError::from(std::io::Error::from(std::io::ErrorKind::Interrupted))
}

/// Where members go. Members of one directory come one after another.
struct Place<'a> {
    top: &'a [u8],
    recent: Option<(Vec<u8>, Vec<u8>)>,
}

impl Place<'_> {
    /// Returns the path in the image of a member: symbolic links on the way are followed within the
    /// root, the last component is not.
    fn of(&mut self, member: &[u8], scene: &Scene<'_>) -> Result<Vec<u8>, CopyError> {
        let (directory, name) = split(member);
        if let Some((known, resolved)) = &self.recent
            && known == directory
        {
            return Ok(join(resolved, name));
        }
        let resolved = scene.resolve(&join(self.top, directory), true)?;
        let path = join(&resolved, name);
        self.recent = Some((directory.to_vec(), resolved));
        Ok(path)
    }
}

/// Which planned paths hold the data of which members: archive, member, paths in order.
pub(super) type Members = BTreeMap<(usize, u64), Vec<Vec<u8>>>;

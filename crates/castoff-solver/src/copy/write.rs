//! From the plan to the layer tar.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use castoff_layer::{Entry, EntryKind, FileChanged, LinkGroup, Node, TarWriteError, TarWriter, View};
use castoff_oci::Hasher;

use super::archive::{Archive, Members};
use super::digest::file_digest;
use super::plan::Planner;
use super::scene::{Data, Planned};
use super::{CopyError, InlineFile, Seen, SourceTree, WriteOptions, shown};

/// How long a file must have been at rest to be believed by its metadata: a change in the same tick of the clock
/// as the last one leaves the times as they were. As the store's memo has it.
const AT_REST_MS: i64 = 2_000;

/// What a layer consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Directories, those of the parent that are on the way included.
    pub directories: u64,
    /// Everything else.
    pub files: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// Files that a later source took the place of (D-204), for a warning.
    pub overwritten: Vec<String>,
}

/// Writes the layer that puts the sources, then the here-documents, on top of `parent`.
///
/// `destination` is an absolute path; a trailing `/` or `/.` marks a directory (D-199). Directories of
/// the parent that are on the way to something are in the layer as they are there, because the
/// directory of an upper layer hides the metadata of those below. The tar is not finished.
pub fn write<W: Write>(
    parent: &View,
    sources: &[SourceTree<'_>],
    inline: &[InlineFile],
    destination: &str,
    options: &WriteOptions<'_>,
    tar: &mut TarWriter<W>,
) -> Result<CopyStats, CopyError> {
    let empty = View::empty();
    let parent = if options.link { &empty } else { parent };
    let mut planner = Planner::new(parent, destination, options);
    for (index, source) in sources.iter().enumerate() {
        planner.add_source(index, source)?;
    }
    for (index, file) in inline.iter().enumerate() {
        planner.add_inline(index, file)?;
    }
    let Planner { scene, archives, overwritten, .. } = planner;
    let mut output = Output { tar, stats: CopyStats { overwritten, ..CopyStats::default() } };
    let mut members = Members::new();
    // BuildKit copies each match for itself: names of one file that several of them brought part (D-208).
    let mut links: BTreeMap<(usize, usize, LinkGroup), Vec<u8>> = BTreeMap::new();
    for (path, planned) in &scene.plan {
        let Planned { entry, data, .. } = planned;
        match data {
            Data::None => output.append(entry, &mut io::empty())?,
            Data::Inline(index) => output.append(entry, &mut inline[*index].content.as_slice())?,
            Data::Parent(node) => output.append_node(entry, parent, node, None)?,
            Data::Source { source, root, node } => {
                let first = node.link_group.map(|group| links.entry((*source, *root, group)));
                match first {
                    Some(std::collections::btree_map::Entry::Occupied(first)) => {
                        output.append_link(entry, first.get())?;
                        continue;
                    }
                    Some(std::collections::btree_map::Entry::Vacant(slot)) => {
                        slot.insert(path.clone());
                    }
                    None => {}
                }
                let source = &sources[*source];
                output.append_node(entry, &source.view, node, source.seen)?;
            }
            Data::Archive { archive, member } => {
                members.entry((*archive, *member)).or_default().push(path.clone());
            }
        }
    }
    // Parents are written; the order of the rest is that of the archives.
    for (index, archive) in archives.iter().enumerate() {
        let wanted = members.range((index, 0)..=(index, u64::MAX)).count();
        let mut seen = 0;
        if wanted == 0 {
            continue;
        }
        archive.read(&mut |member, entry, data| {
            let Some(paths) = members.get(&(index, member)) else { return Ok(()) };
            seen += 1;
            let [first, others @ ..] = paths.as_slice() else { return Ok(()) };
            let planned = &scene.plan[first];
            if planned.entry.kind != entry.kind {
                return Err(CopyError::ArchiveChanged { archive: archive.name() });
            }
            output.append(&planned.entry, data)?;
            for other in others {
                output.append_link(&scene.plan[other].entry, first)?;
            }
            Ok(())
        })?;
        if seen != wanted {
            return Err(CopyError::ArchiveChanged { archive: archive.name() });
        }
    }
    archives.iter().try_for_each(Archive::check)?;
    Ok(output.stats)
}

struct Output<'a, W: Write> {
    tar: &'a mut TarWriter<W>,
    stats: CopyStats,
}

impl<W: Write> Output<'_, W> {
    fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), CopyError> {
        self.tar.append(entry, data)?;
        match entry.kind {
            EntryKind::Directory { .. } => self.stats.directories += 1,
            EntryKind::File { size } => {
                self.stats.files += 1;
                self.stats.bytes += size;
            }
            _ => self.stats.files += 1,
        }
        Ok(())
    }

    fn append_link(&mut self, entry: &Entry, target: &[u8]) -> Result<(), CopyError> {
        let kind = EntryKind::Hardlink { target: target.to_vec() };
        self.append(&Entry { kind, ..entry.clone() }, &mut io::empty())
    }

    /// Appends what is planned as `entry` with the data and extended attributes of `node`, which has to be what
    /// was seen.
    fn append_node(
        &mut self,
        entry: &Entry,
        view: &View,
        node: &Node,
        seen: Option<Seen<'_>>,
    ) -> Result<(), CopyError> {
        match node.entry.kind {
            EntryKind::File { .. } => {
                let known = seen.and_then(|seen| seen.digests.get(&node.entry.path));
                if let (Some(seen), Some(_)) = (seen, known)
                    && self.append_unchanged(entry, view, node, seen.began_ms)?
                {
                    return Ok(());
                }
                let (complete, mut data) = view.open_complete(node)?;
                let entry = Entry { xattrs: complete.xattrs, ..entry.clone() };
                let Some(known) = known else { return self.append(&entry, &mut data) };
                let mut hashed = Hashed { reader: data, hasher: Hasher::new() };
                self.append(&entry, &mut hashed)?;
                if file_digest(hashed.hasher.finish(), &entry) == *known {
                    Ok(())
                } else {
                    Err(CopyError::Changed { path: shown(&node.entry.path) })
                }
            }
            EntryKind::Directory { .. } => {
                let xattrs = view.complete(node)?.xattrs;
                self.append(&Entry { xattrs, ..entry.clone() }, &mut io::empty())
            }
            _ => self.append(entry, &mut io::empty()),
        }
    }

    /// Appends a file whose metadata vouches for its data; returns whether it does.
    fn append_unchanged(
        &mut self,
        entry: &Entry,
        view: &View,
        node: &Node,
        seen_ms: i64,
    ) -> Result<bool, CopyError> {
        if !node.identity.is_some_and(|file| file.rests_since(seen_ms - AT_REST_MS)) {
            return Ok(false);
        }
        let Some((complete, mut data)) = view.open_unchanged(node)? else { return Ok(false) };
        let entry = Entry { xattrs: complete.xattrs, ..entry.clone() };
        match self.append(&entry, &mut data) {
            Err(CopyError::Write(TarWriteError::Data { source, .. }))
                if source.get_ref().is_some_and(|inner| inner.is::<FileChanged>()) =>
            {
                Err(CopyError::Changed { path: shown(&node.entry.path) })
            }
            other => other.map(|()| true),
        }
    }
}

/// A reader that hashes what passes through it.
struct Hashed {
    reader: Box<dyn Read + Send>,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

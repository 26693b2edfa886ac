//! An EROFS image that shows a layer tar as a file system without copying a byte of it.
//!
//! The image holds only names and metadata. The data of files stays where it is, in the tar, which is the
//! image's second device: every member of a tar begins at a multiple of 512 bytes, and that is the block
//! size here. Mounted (Linux 6.12, `EROFS_FS_BACKED_BY_FILE`), it is a lower directory of overlayfs:
//! whiteouts and opaque directories are written as overlayfs wants them.
//!
//! The format is that of `fs/erofs/erofs_fs.h`, without compression:
//!
//! ```text
//! 0      nothing
//! 1024   superblock, 128 bytes
//! 1152   device slot of the tar, 128 bytes
//! 1536   inodes in the order of paths, the root first: 64 bytes, extended attributes, and for
//!        a file with data one chunk index, for a short link its text
//! ...    directories and long links, in whole blocks
//! ```

use std::collections::BTreeMap;

use crate::entry::{Entry, EntryKind, split};
use crate::index::TarIndex;
use crate::xattr::belongs_to_layer;

/// Bytes of a block, and its logarithm.
const BLOCK: usize = 512;
const BLOCK_BITS: u8 = 9;

const SUPERBLOCK: usize = 1024;
const DEVICE_SLOT: usize = 1152;
const INODES: usize = 1536;

/// Inodes are numbered by their place in units of this size.
const SLOT: usize = 32;
const INODE: usize = 64;

const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

/// Data layouts of inodes.
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;
const CHUNK_BASED: u16 = 4;

/// The chunk of a file is described by an index with a device number.
const CHUNK_INDEXES: u16 = 0x20;
/// The largest chunk has 2 to this power blocks.
const CHUNK_BITS: u16 = 31;

/// Prefixes of the names of extended attributes, by their number.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// File type bits of a mode, and the type in a directory entry (`FT_*`).
const REGULAR: (u16, u8) = (0o100_000, 1);
const DIRECTORY: (u16, u8) = (0o040_000, 2);
const CHARACTER: (u16, u8) = (0o020_000, 3);
const BLOCK_DEVICE: (u16, u8) = (0o060_000, 4);
const FIFO: (u16, u8) = (0o010_000, 5);
const SOCKET: (u16, u8) = (0o140_000, 6);
const SYMLINK: (u16, u8) = (0o120_000, 7);

/// Why a layer cannot be shown so; it can still be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErofsError {
    /// A hard link leads to something that is not in the layer.
    #[error("`{path}` is a hard link to something that is not in the layer")]
    Link {
        /// The link.
        path: String,
    },
    /// A number, a name, an attribute or the whole is larger than the format takes.
    #[error("`{path}` is larger than an EROFS image takes")]
    TooLarge {
        /// What.
        path: String,
    },
}

impl TarIndex {
    /// Returns the EROFS image that shows the layer of this index; `tar_size` is the size of its tar,
    /// which is to be the image's one extra device when it is mounted.
    ///
    /// `implied` returns the metadata of a directory that the layer has no entry for: that of the layers
    /// below, if they have it.
    ///
    /// # Errors
    /// When the layer has something that the format cannot hold.
    pub fn to_erofs(
        &self,
        tar_size: u64,
        implied: &mut dyn FnMut(&[u8]) -> Option<Entry>,
    ) -> Result<Vec<u8>, ErofsError> {
        let (nodes, by_position) = nodes(self, implied)?;
        let mut image = Image { bytes: vec![0; INODES], nodes };
        image.place_inodes()?;
        let listings = image.listings(self, &by_position);
        for (node, listing) in listings.into_iter().enumerate() {
            if let Some(listing) = listing {
                image.write_directory(node, listing)?;
            }
        }
        image.write_long_links()?;
        image.write_inodes()?;
        image.write_superblock(tar_size)?;
        Ok(image.bytes)
    }
}

/// One inode.
struct Node {
    entry: Entry,
    /// Where the data of a file is in the tar.
    offset: u64,
    names: u32,
    /// The encoded extended attributes, with their header; empty for none.
    xattrs: Vec<u8>,
    /// Where the inode is in the image.
    place: usize,
    /// Where its data is in the image, when it is in blocks of its own, and how much.
    blocks: (u32, u64),
}

struct Image {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
}

/// Returns the inodes, the root first, and the inode of each position of the index.
fn nodes(
    index: &TarIndex,
    implied: &mut dyn FnMut(&[u8]) -> Option<Entry>,
) -> Result<(Vec<Node>, Vec<usize>), ErofsError> {
    let new = |entry: Entry, offset| -> Result<Node, ErofsError> {
        let xattrs = encode_xattrs(&entry)?;
        Ok(Node { entry, offset, names: 0, xattrs, place: 0, blocks: (0, 0) })
    };
    let mut nodes = Vec::with_capacity(index.len() + 1);
    let mut by_position = vec![0; index.len()];
    if index.find(b"").is_none() {
        let root = Entry {
            path: Vec::new(),
            kind: EntryKind::Directory { opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Default::default(),
            xattrs: BTreeMap::new(),
        };
        nodes.push(new(root, 0)?);
    }
    for (position, inode) in by_position.iter_mut().enumerate() {
        let found = index.get(position);
        if matches!(found.entry.kind, EntryKind::Hardlink { .. }) {
            continue;
        }
        *inode = nodes.len();
        let mut entry = found.entry.clone();
        if found.implied
            && let Some(below) = implied(&entry.path)
        {
            entry = Entry { path: entry.path, kind: entry.kind, ..below };
        }
        nodes.push(new(entry, found.offset)?);
    }
    for position in 0..index.len() {
        if matches!(index.get(position).entry.kind, EntryKind::Hardlink { .. }) {
            let path = &index.get(position).entry.path;
            let target = index.link_target(position).ok_or_else(|| ErofsError::Link { path: shown(path) })?;
            by_position[position] = by_position[target];
        }
        nodes[by_position[position]].names += 1;
    }
    Ok((nodes, by_position))
}

/// A directory's names, each with its inode.
type Listing = Vec<(Vec<u8>, usize)>;

impl Image {
    /// Decides where each inode is, and makes room for all of them.
    fn place_inodes(&mut self) -> Result<(), ErofsError> {
        let mut end = INODES;
        for node in &mut self.nodes {
            let place = end.next_multiple_of(SLOT);
            let inline = node.inline();
            // The inode itself, and the text of a link behind it, are in one block.
            let whole = INODE + if inline == 0 { 0 } else { node.xattrs.len() + inline };
            let fits = place % BLOCK + whole <= BLOCK;
            node.place = if fits { place } else { place.next_multiple_of(BLOCK) };
            end = node.place + INODE + node.xattrs.len() + inline;
            if node.chunk_format().is_some() {
                end = end.next_multiple_of(CHUNK_INDEX) + CHUNK_INDEX;
            }
        }
        self.bytes.resize(end.next_multiple_of(BLOCK), 0);
        // The number of the root has 16 bits, but it is the first.
        u32::try_from(self.bytes.len() / SLOT)
            .map(drop)
            .map_err(|_| ErofsError::TooLarge { path: "/".to_owned() })
    }

    /// Returns what is in each directory, by inode; counts the subdirectories on the way.
    fn listings(&mut self, index: &TarIndex, by_position: &[usize]) -> Vec<Option<Listing>> {
        let mut listings: Vec<Option<Listing>> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(number, node)| node.entry.is_directory().then(|| vec![(b".".to_vec(), number)]))
            .collect();
        let root = index.find(b"").map_or(0, |position| by_position[position]);
        for node in &mut self.nodes {
            if node.entry.is_directory() {
                node.names = 2;
            }
        }
        if let Some(listing) = &mut listings[root] {
            listing.push((b"..".to_vec(), root));
        }
        let mut directories: BTreeMap<&[u8], usize> = BTreeMap::from([(&b""[..], root)]);
        for (position, &inode) in by_position.iter().enumerate() {
            let path = index.get(position).entry.path.as_slice();
            if path.is_empty() {
                continue;
            }
            let (parent, name) = split(path);
            let parent = directories[parent];
            if let Some(listing) = &mut listings[parent] {
                listing.push((name.to_vec(), inode));
            }
            if index.get(position).entry.is_directory() {
                directories.insert(path, inode);
                self.nodes[parent].names += 1;
                if let Some(listing) = &mut listings[inode] {
                    listing.push((b"..".to_vec(), parent));
                }
            }
        }
        listings
    }

    /// Appends the blocks of a directory: in each, entries of 12 bytes and then their names, sorted over
    /// all blocks.
    fn write_directory(&mut self, node: usize, mut listing: Listing) -> Result<(), ErofsError> {
        const ENTRY: usize = 12;
        listing.sort_unstable();
        let first = self.block()?;
        let begin = self.bytes.len();
        let mut rest = &listing[..];
        while !rest.is_empty() {
            let mut size = 0;
            let fitting = rest.iter().take_while(|(name, _)| {
                size += ENTRY + name.len();
                size <= BLOCK
            });
            let count = fitting.count();
            if count == 0 {
                return Err(self.too_large(node));
            }
            let (block, later) = rest.split_at(count);
            let mut name_offset = count * ENTRY;
            for (name, inode) in block {
                let target = &self.nodes[*inode];
                let mut entry = [0; ENTRY];
                entry[..8].copy_from_slice(&(target.place as u64 / SLOT as u64).to_le_bytes());
                entry[8..10].copy_from_slice(&(name_offset as u16).to_le_bytes());
                entry[10] = target.kind().1;
                self.bytes.extend_from_slice(&entry);
                name_offset += name.len();
            }
            for (name, _) in block {
                self.bytes.extend_from_slice(name);
            }
            rest = later;
            if !rest.is_empty() {
                self.pad();
            }
        }
        self.nodes[node].blocks = (first, (self.bytes.len() - begin) as u64);
        self.pad();
        Ok(())
    }

    fn write_long_links(&mut self) -> Result<(), ErofsError> {
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            if let EntryKind::Symlink { target } = &node.entry.kind
                && node.inline() == 0
            {
                let target = target.clone();
                self.nodes[number].blocks = (self.block()?, target.len() as u64);
                self.bytes.extend_from_slice(&target);
                self.pad();
            }
        }
        Ok(())
    }

    fn write_inodes(&mut self) -> Result<(), ErofsError> {
        for (number, node) in self.nodes.iter().enumerate() {
            let too_large = || ErofsError::TooLarge { path: shown(&node.entry.path) };
            let (layout, size, union) = match &node.entry.kind {
                EntryKind::File { size } => match node.chunk_format() {
                    Some(format) => (CHUNK_BASED, *size, u32::from(format?)),
                    None => (FLAT_PLAIN, 0, 0),
                },
                EntryKind::Symlink { target } if node.inline() > 0 => (FLAT_INLINE, target.len() as u64, 0),
                EntryKind::Symlink { .. } | EntryKind::Directory { .. } => {
                    (FLAT_PLAIN, node.blocks.1, node.blocks.0)
                }
                EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                    (FLAT_PLAIN, 0, device(*major, *minor).ok_or_else(too_large)?)
                }
                EntryKind::Fifo | EntryKind::Socket | EntryKind::Whiteout => (FLAT_PLAIN, 0, 0),
                EntryKind::Hardlink { .. } => unreachable!("hard links have no inode of their own"),
            };
            let mut inode = Vec::with_capacity(INODE + node.xattrs.len() + 16);
            inode.extend_from_slice(&(1 | (layout << 1)).to_le_bytes());
            let words = match node.xattrs.len() {
                0 => 0,
                length => u16::try_from((length - XATTR_HEADER) / 4 + 1).map_err(|_| too_large())?,
            };
            inode.extend_from_slice(&words.to_le_bytes());
            inode.extend_from_slice(&(node.kind().0 | (node.entry.mode as u16 & 0o7777)).to_le_bytes());
            inode.extend_from_slice(&[0; 2]);
            inode.extend_from_slice(&size.to_le_bytes());
            inode.extend_from_slice(&union.to_le_bytes());
            inode.extend_from_slice(&(number as u32 + 1).to_le_bytes());
            inode.extend_from_slice(&node.entry.uid.to_le_bytes());
            inode.extend_from_slice(&node.entry.gid.to_le_bytes());
            inode.extend_from_slice(&node.entry.mtime.seconds.to_le_bytes());
            inode.extend_from_slice(&node.entry.mtime.nanos.to_le_bytes());
            inode.extend_from_slice(&node.names.max(1).to_le_bytes());
            inode.extend_from_slice(&[0; 16]);
            inode.extend_from_slice(&node.xattrs);
            if node.inline() > 0
                && let EntryKind::Symlink { target } = &node.entry.kind
            {
                inode.extend_from_slice(target);
            }
            if layout == CHUNK_BASED {
                inode.resize(inode.len().next_multiple_of(CHUNK_INDEX), 0);
                let block = u32::try_from(node.offset / BLOCK as u64).map_err(|_| too_large())?;
                inode.extend_from_slice(&[0, 0]);
                inode.extend_from_slice(&TAR_DEVICE.to_le_bytes());
                inode.extend_from_slice(&block.to_le_bytes());
            }
            self.bytes[node.place..node.place + inode.len()].copy_from_slice(&inode);
        }
        Ok(())
    }

    fn write_superblock(&mut self, tar_size: u64) -> Result<(), ErofsError> {
        let blocks = self.block()?;
        let tar_blocks = u32::try_from(tar_size.div_ceil(BLOCK as u64))
            .map_err(|_| ErofsError::TooLarge { path: "/".to_owned() })?;
        let root = (self.nodes[0].place / SLOT) as u16;
        let mut block = Vec::with_capacity(128);
        block.extend_from_slice(&MAGIC.to_le_bytes());
        // No checksum.
        block.extend_from_slice(&0_u32.to_le_bytes());
        block.extend_from_slice(&COMPAT_MTIME.to_le_bytes());
        block.extend_from_slice(&[BLOCK_BITS, 0]);
        block.extend_from_slice(&root.to_le_bytes());
        block.extend_from_slice(&(self.nodes.len() as u64).to_le_bytes());
        // The time of compact inodes, of which there are none.
        block.extend_from_slice(&[0; 12]);
        block.extend_from_slice(&blocks.to_le_bytes());
        // Inodes are numbered from the start of the image, and no attributes are shared.
        block.extend_from_slice(&[0; 8]);
        // No identity and no name.
        block.extend_from_slice(&[0; 32]);
        block.extend_from_slice(&(INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE).to_le_bytes());
        block.extend_from_slice(&0_u16.to_le_bytes());
        block.extend_from_slice(&1_u16.to_le_bytes());
        block.extend_from_slice(&((DEVICE_SLOT / 128) as u16).to_le_bytes());
        self.bytes[SUPERBLOCK..SUPERBLOCK + block.len()].copy_from_slice(&block);
        // After a tag of 64 bytes.
        self.bytes[DEVICE_SLOT + 64..DEVICE_SLOT + 68].copy_from_slice(&tar_blocks.to_le_bytes());
        Ok(())
    }

    /// Returns the number of the block that is appended next.
    fn block(&self) -> Result<u32, ErofsError> {
        u32::try_from(self.bytes.len() / BLOCK).map_err(|_| ErofsError::TooLarge { path: "/".to_owned() })
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn too_large(&self, node: usize) -> ErofsError {
        ErofsError::TooLarge { path: shown(&self.nodes[node].entry.path) }
    }
}

/// Bytes of a chunk index, and their alignment.
const CHUNK_INDEX: usize = 8;
/// The number of the tar among the devices; 0 is the image itself.
const TAR_DEVICE: u16 = 1;

impl Node {
    fn kind(&self) -> (u16, u8) {
        match &self.entry.kind {
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => REGULAR,
            EntryKind::Directory { .. } => DIRECTORY,
            EntryKind::Symlink { .. } => SYMLINK,
            // overlayfs's whiteout is the character device 0:0.
            EntryKind::CharDevice { .. } | EntryKind::Whiteout => CHARACTER,
            EntryKind::BlockDevice { .. } => BLOCK_DEVICE,
            EntryKind::Fifo => FIFO,
            EntryKind::Socket => SOCKET,
        }
    }

    /// Returns how many bytes of a link's text are behind its inode: all of them or none.
    fn inline(&self) -> usize {
        match &self.entry.kind {
            EntryKind::Symlink { target } if INODE + self.xattrs.len() + target.len() <= BLOCK => {
                target.len()
            }
            _ => 0,
        }
    }

    /// Returns the format of the one chunk that a file with data has.
    fn chunk_format(&self) -> Option<Result<u16, ErofsError>> {
        let EntryKind::File { size: size @ 1.. } = self.entry.kind else { return None };
        let blocks = size.div_ceil(BLOCK as u64);
        let bits = (0..=CHUNK_BITS).find(|bits| blocks <= 1 << bits);
        let format = bits.map(|bits| bits | CHUNK_INDEXES);
        Some(format.ok_or_else(|| ErofsError::TooLarge { path: shown(&self.entry.path) }))
    }
}

const XATTR_HEADER: usize = 12;

/// Encodes the extended attributes that belong to the layer, and overlayfs's mark of an opaque directory.
/// Those whose prefix the format does not know are left out, as file systems refuse them.
fn encode_xattrs(entry: &Entry) -> Result<Vec<u8>, ErofsError> {
    let mut bytes = Vec::new();
    let mut add = |name: &[u8], value: &[u8]| -> Option<()> {
        let known = PREFIXES.iter().find_map(|(prefix, number)| Some((name.strip_prefix(*prefix)?, number)));
        let Some((name, number)) = known else { return Some(()) };
        if bytes.is_empty() {
            bytes.resize(XATTR_HEADER, 0);
        }
        bytes.extend([u8::try_from(name.len()).ok()?, *number]);
        bytes.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend(name);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Some(())
    };
    let mark = entry.is_opaque().then_some((&b"trusted.overlay.opaque"[..], &b"y"[..]));
    let own = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let added = own
        .filter(|(name, _)| belongs_to_layer(name))
        .chain(mark)
        .try_for_each(|(name, value)| add(name, value));
    match added {
        Some(()) => Ok(bytes),
        None => Err(ErofsError::TooLarge { path: shown(&entry.path) }),
    }
}

/// Encodes a device number as Linux's `new_encode_dev` does: 12 bits of major, 20 of minor.
fn device(major: u32, minor: u32) -> Option<u32> {
    let fits = major < 1 << 12 && minor < 1 << 20;
    fits.then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

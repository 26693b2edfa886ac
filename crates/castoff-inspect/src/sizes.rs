//! What layers weigh, directory by directory: tables of files that stay small enough to be shown.
//!
//! A [`Sizes`] takes layers one by one and gives a [`FileTable`] of each. Together they have no more rows than were
//! allowed: what is largest stays, and the rest of each directory becomes one row. So an image of any number of files
//! has tables of a size that is known before, and no byte is missing in them.

use std::collections::BTreeSet;
use std::io;

use castoff_layer::{EntryKind, Tree};

/// The layers that are weighed.
#[derive(Debug, Default)]
pub struct Sizes {
    layers: Vec<Vec<Row>>,
}

/// The files of a layer, parents before what is in them; a column for each field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTable {
    /// How many directories a row is in; its directory is the nearest row above that is in fewer.
    pub depth: Vec<u16>,
    /// Its name; that of a directory ends with a slash, and that of a rest is empty.
    pub name: Vec<String>,
    /// Bytes of files; of a directory all that is below it.
    pub bytes: Vec<u64>,
    /// What a file is marked with by the caller, see [`Sizes::layer`]; `None` of directories and rests.
    pub mark: Vec<Option<u32>>,
    /// Rows that stand for several files of their directory that are not named, and how many.
    pub rests: Vec<(u32, u64)>,
}

/// A row in the making.
#[derive(Debug)]
struct Row {
    depth: u16,
    name: String,
    bytes: u64,
    /// Files: 1, or all that are below.
    files: u64,
    mark: Option<u32>,
    is_directory: bool,
}

impl Sizes {
    /// Returns scales without layers on them.
    pub fn new() -> Sizes {
        Sizes::default()
    }

    /// Takes a layer. `mark` is asked for a number to keep with each file, by its path; what is no part of the layer,
    /// whiteouts, is not asked about. Hard links of one file count once, and directories have no bytes of their own.
    ///
    /// # Errors
    /// When the layer cannot be read.
    pub fn layer(&mut self, tree: &Tree, mark: &mut dyn FnMut(&[u8]) -> Option<u32>) -> io::Result<()> {
        let mut files: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut links = BTreeSet::new();
        tree.walk(&mut |found| {
            let size = match found.entry.kind {
                EntryKind::Directory { .. } | EntryKind::Whiteout => return,
                EntryKind::File { size } if found.link.is_none_or(|link| links.insert(link)) => size,
                _ => 0,
            };
            files.push((found.entry.path, size));
        })?;
        files.sort();
        let mut rows: Vec<Row> = Vec::with_capacity(files.len() + files.len() / 8);
        // The directories of the last file, as places of rows.
        let mut open: Vec<usize> = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for (path, size) in files {
            let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let (name, directories) = parts.split_last().expect("splitting gives at least one part");
            let before: Vec<&[u8]> = last.split(|byte| *byte == b'/').collect();
            let common = directories.iter().zip(&before).take(open.len()).take_while(|(a, b)| a == b).count();
            open.truncate(common);
            for (depth, directory) in directories.iter().enumerate().skip(common) {
                open.push(rows.len());
                rows.push(Row::new(depth, directory, 0, None, true));
            }
            for directory in &open {
                rows[*directory].bytes += size;
                rows[*directory].files += 1;
            }
            let marked = mark(&path);
            rows.push(Row { files: 1, ..Row::new(directories.len(), name, size, marked, false) });
            last = path;
        }
        self.layers.push(rows);
        Ok(())
    }

    /// Returns the tables of all layers, in the order in which they were taken, with at most `most` rows that have a
    /// name.
    pub fn tables(self, most: usize) -> Vec<FileTable> {
        let all: usize = self.layers.iter().map(Vec::len).sum();
        let least = (all > most).then(|| {
            let mut sizes: Vec<u64> = self.layers.iter().flatten().map(|row| row.bytes).collect();
            sizes.sort_unstable_by(|left, right| right.cmp(left));
            let least = sizes.get(most).copied().unwrap_or_default();
            // Of those that are as large as the first that has no place, some may have one. They are counted from the
            // front, and a directory is before what is in it.
            (least, most - sizes.iter().take_while(|size| **size > least).count())
        });
        let (least, mut places) = least.unwrap_or((0, usize::MAX));
        let mut keeps = |row: &Row| {
            let is_next = row.bytes == least && places > 0;
            places -= usize::from(is_next);
            row.bytes > least || is_next
        };
        self.layers.into_iter().map(|rows| table(rows, &mut keeps)).collect()
    }
}

impl Row {
    fn new(depth: usize, name: &[u8], bytes: u64, mark: Option<u32>, is_directory: bool) -> Row {
        Row {
            // No file system has paths of so many parts.
            depth: u16::try_from(depth).unwrap_or(u16::MAX),
            name: String::from_utf8_lossy(name).into_owned(),
            bytes,
            files: 0,
            mark,
            is_directory,
        }
    }
}

/// What has no place in a directory.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    bytes: u64,
    files: u64,
}

fn table(rows: Vec<Row>, keeps: &mut dyn FnMut(&Row) -> bool) -> FileTable {
    let mut table = FileTable::default();
    // Of each directory that is open: the rest of it. The first is the root.
    let mut rests = vec![Rest::default()];
    // Rows deeper than this are below a directory that was left out.
    let mut left_out: Option<u16> = None;
    for row in rows {
        if left_out.is_some_and(|depth| row.depth > depth) {
            continue;
        }
        left_out = None;
        while rests.len() > usize::from(row.depth) + 1 {
            let rest = rests.pop().expect("the root stays");
            table.rest(rests.len(), rest);
        }
        if !keeps(&row) {
            let rest = rests.last_mut().expect("the root stays");
            rest.bytes += row.bytes;
            rest.files += row.files;
            left_out = row.is_directory.then_some(row.depth);
            continue;
        }
        if row.is_directory {
            rests.push(Rest::default());
        }
        let end = if row.is_directory { "/" } else { "" };
        table.push(row.depth, row.name + end, row.bytes, row.mark);
    }
    while let Some(rest) = rests.pop() {
        table.rest(rests.len(), rest);
    }
    table
}

impl FileTable {
    fn push(&mut self, depth: u16, name: String, bytes: u64, mark: Option<u32>) {
        self.depth.push(depth);
        self.name.push(name);
        self.bytes.push(bytes);
        self.mark.push(mark);
    }

    fn rest(&mut self, depth: usize, rest: Rest) {
        if rest.files > 0 {
            self.rests.push((self.name.len() as u32, rest.files));
            let depth = u16::try_from(depth).unwrap_or(u16::MAX);
            self.push(depth, String::new(), rest.bytes, None);
        }
    }
}

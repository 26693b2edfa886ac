//! Going through layers and texts, and saying what was found and what was looked at.

use std::collections::BTreeSet;
use std::io::{self, Read};

use castoff_layer::{Entry, EntryKind};

use super::encode::Encoding;
use super::members;
use super::needles::{Needles, Origin, Part};
use super::stream::{Hits, Patterns, Stream};
use super::tokens::{TOKEN_RULES, Tokens};

/// Finds that are told of one scan, at most; the others are like them.
const FINDS: usize = 1000;

/// Files that were not looked into and are told by name.
const UNREAD: usize = 20;

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// Where: an absolute path, in archives continued behind `!`, or the name of a text. Secrets in it are hidden.
    pub path: String,
    /// The id of the secret.
    pub secret: String,
    /// How much of it.
    pub part: Part,
    /// In which form.
    pub encoding: Encoding,
}

/// A token that its form gave away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenFind {
    /// Where, as in [`Find::path`].
    pub path: String,
    /// The name of the rule.
    pub rule: &'static str,
}

/// A file that was looked at as it is, but not into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// Where, as in [`Find::path`].
    pub path: String,
    /// Why.
    pub reason: &'static str,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries of layers and files.
    pub entries: u64,
    /// Texts, such as configs and logs.
    pub texts: u64,
    /// Bytes of files and texts as they are.
    pub bytes: u64,
    /// Compressed files and members of archives that were opened.
    pub members: u64,
    /// Bytes that these unpacked to.
    pub unpacked: u64,
    /// How deep the deepest of them was in others; 0 is a file itself.
    pub depth: u32,
    /// How many were not looked into.
    pub left: u64,
    /// The first of these.
    pub unread: Vec<Unread>,
}

/// What a scan found and looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Secrets, sorted.
    pub finds: Vec<Find>,
    /// Tokens, sorted.
    pub tokens: Vec<TokenFind>,
    /// What was looked at.
    pub checked: Checked,
}

impl Scan {
    /// Adds what another scan found and looked at.
    pub fn add(&mut self, other: Scan) {
        self.finds.extend(other.finds);
        self.tokens.extend(other.tokens);
        let Checked { entries, texts, bytes, members, unpacked, depth, left, unread } = other.checked;
        let checked = &mut self.checked;
        checked.entries += entries;
        checked.texts += texts;
        checked.bytes += bytes;
        checked.members += members;
        checked.unpacked += unpacked;
        checked.depth = checked.depth.max(depth);
        checked.left += left;
        let room = UNREAD.saturating_sub(checked.unread.len());
        checked.unread.extend(unread.into_iter().take(room));
    }
}

/// Looks for secrets, and for tokens when asked to.
pub struct Scanner<'p> {
    patterns: Patterns<'p>,
    /// Streams that are not in use.
    idle: Vec<Stream<'p>>,
    finds: BTreeSet<Find>,
    tokens: BTreeSet<TokenFind>,
    pub(super) checked: Checked,
    /// What the members of the file that is looked at may still unpack to.
    pub(super) budget: u64,
    pub(super) limits: Limits,
}

/// What of members is too much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) depth: u32,
    pub(super) file: u64,
    pub(super) scan: u64,
}

/// All rules of tokens, ready to be looked for.
pub struct TokenSearch(Tokens);

impl Default for TokenSearch {
    fn default() -> TokenSearch {
        TokenSearch(Tokens::new())
    }
}

impl<'p> Scanner<'p> {
    /// Returns a scanner that has looked at nothing.
    pub fn new(needles: &'p Needles, tokens: Option<&'p TokenSearch>) -> Scanner<'p> {
        Scanner {
            patterns: Patterns { needles, tokens: tokens.map(|tokens| &tokens.0) },
            idle: Vec::new(),
            finds: BTreeSet::new(),
            tokens: BTreeSet::new(),
            checked: Checked::default(),
            budget: 0,
            limits: Limits { depth: super::DEPTH, file: super::FILE_LIMIT, scan: super::SCAN_LIMIT },
        }
    }

    /// Looks at an entry of a layer: its path, the target of a link, its attributes and its data.
    ///
    /// # Errors
    /// When the data cannot be read. What is damaged or too much inside of it is no error, but said in the end.
    pub fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        let path = [b"/", &entry.path[..]].concat();
        self.checked.entries += 1;
        self.names(&path, entry);
        match entry.kind {
            EntryKind::File { size: 1.. } => self.file(&path, data),
            _ => Ok(()),
        }
    }

    /// Looks at a file with this absolute path.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn file(&mut self, path: &[u8], data: &mut dyn Read) -> io::Result<()> {
        self.budget = self.limits.file.min(self.limits.scan.saturating_sub(self.checked.unpacked));
        let bytes = self.content(path, data, 0)?;
        self.checked.bytes += bytes;
        Ok(())
    }

    /// Looks at a path and the target of a link, without content.
    pub fn name(&mut self, path: &[u8], target: Option<&[u8]>) {
        self.checked.entries += 1;
        let text = [path, b"\0", target.unwrap_or_default()].concat();
        self.look(path, &text);
    }

    /// Looks at a text that is no file, under a name that is told when something is found.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        self.checked.texts += 1;
        self.checked.bytes += text.len() as u64;
        self.look(name.as_bytes(), text);
    }

    /// Looks at a long text, as [`Scanner::text`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn long_text(&mut self, name: &str, text: &mut dyn Read) -> io::Result<()> {
        let mut stream = self.stream();
        let done = stream.drain(text);
        let (hits, bytes) = stream.finish();
        self.idle.push(stream);
        self.checked.texts += 1;
        self.checked.bytes += bytes;
        self.told(name.as_bytes(), hits);
        done
    }

    /// Returns what was found and looked at.
    pub fn finish(self) -> Scan {
        Scan {
            finds: self.finds.into_iter().collect(),
            tokens: self.tokens.into_iter().collect(),
            checked: self.checked,
        }
    }

    /// Looks at what an entry is called and refers to.
    pub(super) fn names(&mut self, path: &[u8], entry: &Entry) {
        let mut names = path.to_vec();
        if let EntryKind::Symlink { target } | EntryKind::Hardlink { target } = &entry.kind {
            names.push(0);
            names.extend_from_slice(target);
        }
        for (name, value) in &entry.xattrs {
            for text in [name, value] {
                names.push(0);
                names.extend_from_slice(text);
            }
        }
        self.look(path, &names);
    }

    fn look(&mut self, path: &[u8], text: &[u8]) {
        let mut stream = self.stream();
        stream.push(text);
        let (hits, _) = stream.finish();
        self.idle.push(stream);
        self.told(path, hits);
    }

    /// Looks at the bytes of something and into it. Returns how many there were.
    pub(super) fn content(&mut self, path: &[u8], data: &mut dyn Read, depth: u32) -> io::Result<u64> {
        let mut stream = self.stream();
        let done = members::read(self, &mut stream, path, data, depth);
        let (hits, bytes) = stream.finish();
        self.idle.push(stream);
        self.told(path, hits);
        done.map(|()| bytes)
    }

    fn stream(&mut self) -> Stream<'p> {
        self.idle.pop().unwrap_or_else(|| Stream::new(self.patterns))
    }

    /// Remembers that something was not looked into.
    pub(super) fn leave(&mut self, path: &[u8], reason: &'static str) {
        self.checked.left += 1;
        if self.checked.unread.len() < UNREAD {
            let path = self.shown(path);
            self.checked.unread.push(Unread { path, reason });
        }
    }

    fn told(&mut self, path: &[u8], hits: Hits) {
        if hits.needles.is_empty() && hits.tokens.is_empty() {
            return;
        }
        let path = self.shown(path);
        let needles = self.patterns.needles;
        for origin in &hits.needles {
            // All of it says more than one of its lines.
            let whole = |other: &Origin| {
                other.part == Part::Whole
                    && (other.secret, other.encoding) == (origin.secret, origin.encoding)
            };
            if self.finds.len() < FINDS && (origin.part == Part::Whole || !hits.needles.iter().any(whole)) {
                self.finds.insert(Find {
                    path: path.clone(),
                    secret: needles.ids()[origin.secret as usize].clone(),
                    part: origin.part,
                    encoding: origin.encoding,
                });
            }
        }
        for rule in hits.tokens.iter().map(|place| &TOKEN_RULES[*place]) {
            if self.tokens.len() < FINDS && rule.is_for(&path) {
                self.tokens.insert(TokenFind { path: path.clone(), rule: rule.name });
            }
        }
    }

    /// Returns a path for people, without secrets and without what a terminal would obey.
    fn shown(&self, path: &[u8]) -> String {
        let hidden = self.patterns.needles.redact(path);
        let text = String::from_utf8_lossy(&hidden);
        text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
    }
}

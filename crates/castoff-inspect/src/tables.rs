//! Tables of ELF files, read whole and within limits.
//!
//! A hostile file has tables as large as itself, and refers to the same bytes as often as it likes. What is read
//! piece by piece is read in the file's order of pieces, so a table that others look into is read at once.

use object::read::StringTable;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadRef};

/// More sections have no number of 16 bits, and are in no program.
const SECTIONS: usize = 1 << 16;
/// Linux refuses to execute a file whose table of segments is larger (fs/binfmt_elf.c).
const SEGMENTS_SIZE: usize = 1 << 16;

/// Returns the headers of the sections; `None` when the table is damaged or too large.
pub(crate) fn sections<'data, H, R>(
    header: &H,
    endian: Endianness,
    data: R,
) -> Option<&'data [H::SectionHeader]>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    if header.shnum(endian, data).ok()? > SECTIONS {
        return None;
    }
    header.section_headers(endian, data).ok()
}

/// Returns the program headers; `None` when the table is damaged or too large.
pub(crate) fn segments<'data, H, R>(
    header: &H,
    endian: Endianness,
    data: R,
) -> Option<&'data [H::ProgramHeader]>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    if header.phnum(endian, data).ok()? > SEGMENTS_SIZE / size_of::<H::ProgramHeader>() {
        return None;
    }
    header.program_headers(endian, data).ok()
}

/// Returns what a section holds; `None` when it is more than a limit, or not in the file.
pub(crate) fn content<'data, H, R>(
    section: &H::SectionHeader,
    endian: Endianness,
    data: R,
    limit: u64,
) -> Option<&'data [u8]>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let (offset, size) = section.file_range(endian)?;
    if size > limit { None } else { data.read_bytes_at(offset, size).ok() }
}

/// Returns the size of a segment in the file.
pub(crate) fn size<P: ProgramHeader<Endian = Endianness>>(segment: &P, endian: Endianness) -> u64 {
    segment.p_filesz(endian).into()
}

/// Returns a table of strings that was read.
pub(crate) fn strings(bytes: &[u8]) -> StringTable<'_> {
    StringTable::new(bytes, 0, bytes.len() as u64)
}

/// ELF files made by hand.
#[cfg(test)]
pub(crate) mod made {
    use std::cell::Cell;
    use std::ops::Range;

    use object::ReadRef;

    /// A file of 64 bits, little-endian: the header, content, segments, names of sections, sections.
    pub(crate) struct Made {
        content: Vec<u8>,
        segments: Vec<u8>,
        names: Vec<u8>,
        sections: Vec<u8>,
    }

    /// Where the content is in the file.
    pub(crate) const CONTENT: u64 = 64;

    impl Made {
        pub(crate) fn new(content: Vec<u8>) -> Made {
            Made { content, segments: Vec::new(), names: vec![0], sections: vec![0; 64] }
        }

        /// Adds a segment of a part of the content, at the same address as in the content.
        pub(crate) fn segment(&mut self, kind: u32, offset: u64, size: u64) {
            self.segments.extend(kind.to_le_bytes());
            self.segments.extend([0; 4]);
            for number in [CONTENT.wrapping_add(offset), offset, offset, size, size, 1] {
                self.segments.extend(number.to_le_bytes());
            }
        }

        pub(crate) fn section(&mut self, name: &str, kind: u32, offset: u64, size: u64) {
            self.linked(name, kind, offset, size, 0);
        }

        /// Adds a section of a part of the content that refers to another section.
        pub(crate) fn linked(&mut self, name: &str, kind: u32, offset: u64, size: u64, link: u32) {
            self.sections.extend((self.names.len() as u32).to_le_bytes());
            self.names.extend(name.bytes().chain([0]));
            self.sections.extend(kind.to_le_bytes());
            for number in [0, 0, CONTENT.wrapping_add(offset), size] {
                self.sections.extend(number.to_le_bytes());
            }
            self.sections.extend(link.to_le_bytes());
            self.sections.extend([0; 20]);
        }

        pub(crate) fn bytes(mut self) -> Vec<u8> {
            self.content.resize(self.content.len().next_multiple_of(16), 0);
            let segments_at = CONTENT + self.content.len() as u64;
            let names_at = segments_at + self.segments.len() as u64;
            let last = (self.sections.len() / 64) as u16;
            self.section(".shstrtab", 3, names_at - CONTENT, 0);
            self.names.resize(self.names.len().next_multiple_of(8), 0);
            let (names, size) = (self.names.len() as u64, self.sections.len());
            self.sections[size - 32..size - 24].copy_from_slice(&names.to_le_bytes());
            let sections_at = names_at + names;
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.resize(16, 0);
            for number in [2_u16, 62, 1, 0] {
                file.extend(number.to_le_bytes());
            }
            for number in [0, segments_at, sections_at] {
                file.extend(number.to_le_bytes());
            }
            file.extend([0; 4]);
            for number in [64, 56, (self.segments.len() / 56) as u16, 64, last + 1, last] {
                file.extend(number.to_le_bytes());
            }
            [file, self.content, self.segments, self.names, self.sections].concat()
        }
    }

    /// A file that counts how much of it is read.
    pub(crate) struct Metered<'a> {
        bytes: &'a [u8],
        read: Cell<u64>,
    }

    impl<'a> Metered<'a> {
        pub(crate) fn new(bytes: &'a [u8]) -> Metered<'a> {
            Metered { bytes, read: Cell::new(0) }
        }

        pub(crate) fn read(&self) -> u64 {
            self.read.get()
        }
    }

    impl<'a> ReadRef<'a> for &'a Metered<'a> {
        fn len(self) -> Result<u64, ()> {
            Ok(self.bytes.len() as u64)
        }

        fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
            self.read.set(self.read.get() + size);
            self.bytes.read_bytes_at(offset, size)
        }

        fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
            self.read.set(self.read.get() + 256);
            self.bytes.read_bytes_at_until(range, delimiter)
        }
    }
}

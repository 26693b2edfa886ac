//! `--chmod` (D-215, D-216).

use castoff_graph::Chmod;

/// A symbolic mode, such as `u=rwX,go=rX`, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolicMode {
    changes: Vec<Change>,
}

/// A text that is not a symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter `{0}`: it should be octal string and between 0 and 07777, or symbolic")]
pub struct ChmodError(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    user: bool,
    group: bool,
    other: bool,
    operator: u8,
    permissions: Permissions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permissions {
    Letters { bits: u32, search: bool, set_id: bool, sticky: bool },
    CopyOf(u8),
}

/// Returns the permission bits of something after `--chmod`. Symbolic links are the caller's (D-217).
pub fn mode_after(chmod: Option<&Chmod>, mode: u32, is_directory: bool) -> Result<u32, ChmodError> {
    match chmod {
        None => Ok(mode),
        Some(Chmod::Octal(bits)) => Ok(*bits),
        Some(Chmod::Symbolic(text)) => Ok(SymbolicMode::parse(text)?.apply(mode, is_directory)),
    }
}

impl SymbolicMode {
    /// Parses comma-separated clauses like those of chmod(1).
    pub fn parse(text: &str) -> Result<SymbolicMode, ChmodError> {
        let error = || ChmodError(text.to_owned());
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let operators = clause.find(['+', '-', '=']).ok_or_else(error)?;
            let (who, mut rest) = clause.split_at(operators);
            if who.bytes().any(|byte| !b"ugoa".contains(&byte)) {
                return Err(error());
            }
            let includes = |letter: char| who.is_empty() || who.contains('a') || who.contains(letter);
            while let Some(operator) = rest.bytes().next() {
                rest = &rest[1..];
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                let permissions = permissions(&rest[..end]).ok_or_else(error)?;
                rest = &rest[end..];
                changes.push(Change {
                    user: includes('u'),
                    group: includes('g'),
                    other: includes('o'),
                    operator,
                    permissions,
                });
            }
        }
        Ok(SymbolicMode { changes })
    }

    /// Changes permission bits, with umask 0.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        self.changes.iter().fold(mode, |mode, change| change.apply(mode, is_directory))
    }
}

fn permissions(text: &str) -> Option<Permissions> {
    if let [source @ (b'u' | b'g' | b'o')] = text.as_bytes() {
        return Some(Permissions::CopyOf(*source));
    }
    let (mut bits, mut search, mut set_id, mut sticky) = (0, false, false, false);
    for letter in text.bytes() {
        match letter {
            b'r' => bits |= 4,
            b'w' => bits |= 2,
            b'x' => bits |= 1,
            b'X' => search = true,
            b's' => set_id = true,
            b't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Letters { bits, search, set_id, sticky })
}

impl Change {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let (bits, set_id, sticky) = match self.permissions {
            Permissions::CopyOf(source) => {
                let shift = match source {
                    b'u' => 6,
                    b'g' => 3,
                    _ => 0,
                };
                ((mode >> shift) & 7, false, false)
            }
            Permissions::Letters { bits, search, set_id, sticky } => {
                // `X` means execute for directories and for what somebody may already execute.
                let execute = search && (is_directory || mode & 0o111 != 0);
                (bits | u32::from(execute), set_id, sticky)
            }
        };
        let mut selected = 0;
        let mut clearable = 0;
        for (chosen, shift, id_bit) in [(self.user, 6, 0o4000), (self.group, 3, 0o2000), (self.other, 0, 0)] {
            if chosen {
                selected |= bits << shift;
                clearable |= 7 << shift;
                // Like chmod(1), `=` takes the set-id bits from files but not from directories.
                if !is_directory {
                    clearable |= id_bit;
                }
                if set_id {
                    selected |= id_bit;
                }
            }
        }
        if sticky {
            selected |= 0o1000;
        }
        match self.operator {
            b'+' => mode | selected,
            b'-' => mode & !selected,
            _ => (mode & !clearable) | selected,
        }
    }
}

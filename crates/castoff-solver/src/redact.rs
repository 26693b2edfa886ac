//! Keeps secret values out of what a process prints.
//!
//! A value may be split over two writes, so the end of each piece is held back while it could be the
//! beginning of a value.

/// Replaces secret values in a stream of bytes by asterisks.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    values: Vec<Vec<u8>>,
    held: Vec<u8>,
}

const MASK: &[u8] = b"*****";

impl Redactor {
    /// Returns a redactor of these values; those under four bytes are let through, because hiding
    /// them would garble the output and protect nothing.
    pub(crate) fn new(values: impl Iterator<Item = Vec<u8>>) -> Redactor {
        let mut values: Vec<Vec<u8>> = values
            .flat_map(|value| {
                let trimmed = value.trim_ascii().to_vec();
                [value, trimmed]
            })
            .filter(|value| value.len() >= 4)
            .collect();
        values.sort_by(|left, right| right.len().cmp(&left.len()).then(left.cmp(right)));
        values.dedup();
        Redactor { values, held: Vec::new() }
    }

    /// Takes the next bytes and returns what may be shown.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.values.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            if let Some(value) = self.values.iter().find(|value| rest.starts_with(value)) {
                shown.extend_from_slice(MASK);
                at += value.len();
            } else if self.values.iter().any(|value| value.starts_with(rest)) {
                break;
            } else {
                shown.push(rest[0]);
                at += 1;
            }
        }
        self.held.drain(..at);
        shown
    }

    /// Returns what was held back and turned out not to be a value.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    fn check(values: &[&str], pieces: &[&str], expected: &str) {
        let mut redactor = Redactor::new(values.iter().map(|value| value.as_bytes().to_vec()));
        let mut shown = Vec::new();
        for piece in pieces {
            shown.extend(redactor.push(piece.as_bytes()));
        }
        shown.extend(redactor.finish());
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    /// D-170: a value is hidden, wherever the stream is cut.
    #[test]
    fn a_value_is_hidden_wherever_the_stream_is_cut() {
        check(&["hunter22"], &["token=hunter22\n"], "token=*****\n");
        check(&["hunter22"], &["token=hun", "ter", "22\n"], "token=*****\n");
        check(&["hunter22\n"], &["<hunter22>"], "<*****>");
        check(&["hunter22"], &["hunterhunter22 hunt"], "hunter***** hunt");
    }

    #[test]
    fn very_short_values_are_not_hidden() {
        check(&["a"], &["banana"], "banana");
    }
}

//! Looking for many byte strings at once (Wu and Manber, "A fast algorithm for multi-pattern searching", 1994).
//!
//! A table says for each three bytes how far the text may be skipped when they stand where the shortest needle
//! would end. Needles of secrets are long and random, so nearly all of a text is skipped and never looked at,
//! which an automaton over the same needles cannot do.

/// Bytes that the table is asked about.
const BLOCK: usize = 3;
const TABLE: usize = 1 << 16;

/// Needles, ready to be looked for.
pub(super) struct Search {
    needles: Vec<Vec<u8>>,
    shifts: Vec<u8>,
    /// Needles by the table entry of the block that ends their first `least` bytes, sorted.
    ends: Vec<(u16, u32)>,
    least: usize,
    longest: usize,
}

impl Search {
    /// Returns a search for needles, each of three bytes or more.
    pub(super) fn new(needles: Vec<Vec<u8>>) -> Search {
        let least = needles.iter().map(Vec::len).min().unwrap_or(BLOCK).min(usize::from(u8::MAX));
        assert!(least >= BLOCK, "needles are not shorter than a block");
        let longest = needles.iter().map(Vec::len).max().unwrap_or_default();
        let farthest = u8::try_from(least - BLOCK + 1).expect("needles are cut to 255 bytes here");
        let mut shifts = vec![farthest; TABLE];
        let mut ends = Vec::with_capacity(needles.len());
        for (number, needle) in needles.iter().enumerate() {
            for (place, block) in needle[..least].windows(BLOCK).enumerate() {
                let left = (least - BLOCK - place) as u8;
                let shift = &mut shifts[slot(block)];
                *shift = left.min(*shift);
            }
            ends.push((slot(&needle[least - BLOCK..least]) as u16, number as u32));
        }
        ends.sort_unstable();
        Search { needles, shifts, ends, least, longest }
    }

    /// Returns the length of the longest needle.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Returns the length of a needle.
    pub(super) fn length(&self, needle: usize) -> usize {
        self.needles[needle].len()
    }

    /// Calls `hit` with the number of each needle that is in `text`, and where it begins, in the order in which they
    /// are there.
    pub(super) fn each(&self, text: &[u8], hit: &mut dyn FnMut(usize, usize)) {
        if self.needles.is_empty() {
            return;
        }
        let mut end = self.least;
        while let Some(block) = text.get(end - BLOCK..end) {
            let slot = slot(block);
            match self.shifts[slot] {
                0 => {
                    let start = end - self.least;
                    let first = self.ends.partition_point(|(of, _)| usize::from(*of) < slot);
                    let candidates = self.ends[first..].iter().take_while(|(of, _)| usize::from(*of) == slot);
                    for (_, number) in candidates {
                        let number = *number as usize;
                        if text[start..].starts_with(&self.needles[number]) {
                            hit(number, start);
                        }
                    }
                    end += 1;
                }
                shift => end += usize::from(shift),
            }
        }
    }
}

/// Returns the table entry of three bytes.
fn slot(block: &[u8]) -> usize {
    let number = u32::from(block[0]) | u32::from(block[1]) << 8 | u32::from(block[2]) << 16;
    (number.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Search;

    /// Returns the same by comparing everywhere.
    fn naive(needles: &[Vec<u8>], text: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = (0..text.len())
            .flat_map(|start| {
                let at = move |(number, needle): (usize, &Vec<u8>)| {
                    text[start..].starts_with(needle).then_some((start, number))
                };
                needles.iter().enumerate().filter_map(at).collect::<Vec<_>>()
            })
            .collect();
        found.sort_unstable();
        found
    }

    proptest! {
        // Few different bytes, so that needles overlap each other and themselves.
        #[test]
        fn all_needles_are_found_everywhere(
            needles in prop::collection::vec(prop::collection::vec(0u8..3, 3..9), 1..8),
            text in prop::collection::vec(0u8..3, 0..200),
        ) {
            let search = Search::new(needles.clone());
            let mut found = Vec::new();
            search.each(&text, &mut |number, start| found.push((start, number)));
            found.sort_unstable();
            prop_assert_eq!(found, naive(&needles, &text));
        }
    }

    #[test]
    fn long_needles_and_no_needles() {
        let needle: Vec<u8> = (0..2000u32).map(|number| (number * 7 % 251) as u8).collect();
        let mut text = vec![7; 5000];
        text[1234..3234].copy_from_slice(&needle);
        let mut found = Vec::new();
        Search::new(vec![needle]).each(&text, &mut |number, start| found.push((number, start)));
        assert_eq!(found, [(0, 1234)]);
        Search::new(Vec::new()).each(&text, &mut |_, _| panic!("there is nothing to find"));
    }
}

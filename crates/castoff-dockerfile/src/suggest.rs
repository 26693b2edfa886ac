//! Guessing what a misspelt word was meant to be (D-346).

/// Words longer than this are not guessed at: nothing we know is that long.
const LONGEST: usize = 64;

/// Most candidates that are looked at: a file may have any number of names and of mistakes.
const MOST: usize = 200;

/// Returns the candidate nearest to `word`, ignoring case, when it is within two edits and shares
/// something with it. The first of equally near candidates wins.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &str)> = None;
    let mut letters = Vec::new();
    let mut table = Table::default();
    for candidate in candidates.into_iter().take(MOST) {
        if candidate.len() > LONGEST {
            continue;
        }
        letters.clear();
        letters.extend(candidate.chars().flat_map(char::to_lowercase));
        if letters.len().abs_diff(word.len()) > 2 {
            continue;
        }
        let distance = table.edit_distance(&word, &letters);
        let near = distance <= 2 && distance < word.len();
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Rows of the usual table: the one two above, the one above, and the current one.
#[derive(Default)]
struct Table {
    before: Vec<usize>,
    above: Vec<usize>,
    row: Vec<usize>,
}

impl Table {
    /// Number of characters to insert, delete, replace, or swap with their neighbour.
    fn edit_distance(&mut self, left: &[char], right: &[char]) -> usize {
        self.above.clear();
        self.above.extend(0..=right.len());
        for (i, a) in left.iter().enumerate() {
            let Table { before, above, row } = self;
            row.clear();
            row.push(i + 1);
            for (j, b) in right.iter().enumerate() {
                let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
                if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                    let swapped = before[j - 1];
                    least = least.min(swapped + 1);
                }
                row.push(least);
            }
            std::mem::swap(before, above);
            std::mem::swap(above, row);
        }
        self.above[right.len()]
    }
}

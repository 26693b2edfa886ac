//! Guessing what a misspelt word was meant to be (D-346).

/// Words longer than this are not guessed at: nothing we know is that long.
const LONGEST: usize = 64;

/// Returns the candidate nearest to `word`, ignoring case, when it is within two edits and shares
/// something with it. The first of equally near candidates wins.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = edit_distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>());
        let near = distance <= 2 && distance < word.len();
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Number of characters to insert, delete, replace, or swap with their neighbour.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    // Rows of the usual table: the one two above, the one above, and the current one.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                let swapped = before[j - 1];
                least = least.min(swapped + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

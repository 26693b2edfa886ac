//! Differences between two texts that are nearly the same.

use std::fmt::Write as _;

/// Lines shown around a change.
const AROUND: usize = 3;

/// Returns what changed as a unified diff; nothing when nothing did.
///
/// Lines are compared from both ends of what differs in turn, which finds the smallest change where lines
/// are only replaced, added or removed one by one, as fixes do.
pub fn unified(name: &str, before: &str, after: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let changes = changes(&left, &right);
    if changes.is_empty() {
        return String::new();
    }
    let mut text = format!("--- a/{name}\n+++ b/{name}\n");
    let mut rest = &changes[..];
    while let [first, ..] = rest {
        // Changes whose surroundings meet are one hunk.
        let together =
            rest.windows(2).take_while(|pair| pair[1].left.0 - pair[0].left.1 <= 2 * AROUND).count();
        let hunk = &rest[..=together];
        rest = &rest[hunk.len()..];
        let last = &hunk[hunk.len() - 1];
        let (start, end) = (first.left.0.saturating_sub(AROUND), (last.left.1 + AROUND).min(left.len()));
        let before = first.left.0 - start;
        let (new_start, new_end) = (first.right.0 - before, last.right.1 + (end - last.left.1));
        let _infallible = writeln!(
            text,
            "@@ -{},{} +{},{} @@",
            start + usize::from(end > start),
            end - start,
            new_start + usize::from(new_end > new_start),
            new_end - new_start
        );
        let mut at = start;
        for change in hunk {
            lines(&mut text, ' ', &left[at..change.left.0]);
            lines(&mut text, '-', &left[change.left.0..change.left.1]);
            lines(&mut text, '+', &right[change.right.0..change.right.1]);
            at = change.left.1;
        }
        lines(&mut text, ' ', &left[at..end]);
    }
    text
}

fn lines(text: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Lines of one text in the place of lines of the other; from and to.
struct Change {
    left: (usize, usize),
    right: (usize, usize),
}

fn changes(left: &[&str], right: &[&str]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (next_i, next_j) = meet(&left[i..], &right[j..]);
        changes.push(Change { left: (i, i + next_i), right: (j, j + next_j) });
        (i, j) = (i + next_i, j + next_j);
    }
    changes
}

/// Returns the nearest place at which both texts go on with the same line.
fn meet(left: &[&str], right: &[&str]) -> (usize, usize) {
    for distance in 1..=left.len() + right.len() {
        for i in 0..=distance.min(left.len()) {
            let j = distance - i;
            if left.get(i).is_some_and(|line| right.get(j) == Some(line)) {
                return (i, j);
            }
        }
    }
    (left.len(), right.len())
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[track_caller]
    fn check(before: &str, after: &str, expected: &str) {
        assert_eq!(unified("D", before, after), expected);
    }

    #[test]
    fn what_is_the_same_has_no_difference() {
        check("a\nb\n", "a\nb\n", "");
        check("", "", "");
    }

    #[test]
    fn changed_lines_stand_among_their_neighbours() {
        check(
            "1\n2\n3\n4\nold\n6\n7\n8\n9\n",
            "1\n2\n3\n4\nnew\n6\n7\n8\n9\n",
            "--- a/D\n+++ b/D\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-old\n+new\n 6\n 7\n 8\n",
        );
    }

    #[test]
    fn removed_lines_and_missing_ends_are_shown() {
        check(
            "a\n\nb",
            "a\nb",
            "--- a/D\n+++ b/D\n@@ -1,3 +1,2 @@\n a\n-\n b\n\\ No newline at end of file\n",
        );
        check("a\n", "b\n", "--- a/D\n+++ b/D\n@@ -1,1 +1,1 @@\n-a\n+b\n");
    }

    #[test]
    fn distant_changes_are_hunks_of_their_own() {
        let lines = |first: &str, last: &str| format!("{first}\n{}{last}\n", "same\n".repeat(10));
        let text = unified("D", &lines("a", "b"), &lines("c", "d"));
        assert_eq!(text.matches("@@ -").count(), 2, "{text}");
        assert!(text.contains("@@ -1,4 +1,4 @@") && text.contains("@@ -9,4 +9,4 @@"), "{text}");
    }
}

//! Subordinate ids: `/etc/subuid`, `/etc/subgid`, and the maps made of them.

use std::path::PathBuf;

/// Ids of a user namespace and what they are outside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// The kernel takes this many lines in a map (user_namespaces(7), since Linux 4.15).
const MOST_LINES: usize = 340;

/// Where programs with the right to map are; a fixed list, because `PATH` is the user's to set.
const DIRECTORIES: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin", "/run/current-system/sw/bin"];

/// Finds a program.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| PathBuf::from(directory).join(name)).find(|path| path.is_file())
}

/// Returns the name of a user in the text of `/etc/passwd`.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Returns the (first, count) pairs that a subordinate id file gives to a user, who may be named by
/// name or by number. Lines that make no sense are ignored, as `newuidmap` does.
pub(crate) fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let is_mine = Some(owner) == name || owner.parse() == Ok(uid);
            let is_sane = fields.next().is_none() && count > 0 && first.checked_add(count).is_some();
            (is_mine && is_sane).then_some((first, count))
        })
        .collect()
}

/// Returns the map of a user's own id as 0 and the subordinate ids from 1 on. Ids that are in two
/// ranges are mapped once, because the kernel refuses a map that overlaps.
pub(crate) fn map_with(own: u32, ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut map = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next: u32 = 1;
    for &(first, count) in ranges {
        let overlaps =
            map.iter().any(|taken| first < taken.outside + taken.count && taken.outside < first + count);
        let Some(after) = next.checked_add(count) else { break };
        if overlaps || map.len() == MOST_LINES {
            continue;
        }
        map.push(Range { inside: next, outside: first, count });
        next = after;
    }
    map
}

/// Parses a map as the kernel shows it.
pub(crate) fn parse_map(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|field| field.parse().ok());
            Some(Range { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
        })
        .collect()
}

/// Returns a map as the kernel reads it: one write, one line for each range.
pub(crate) fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\n1000:200000:10\nbob:300000:5\nalice:x:1\nalice:1:0\n:1:1\n";
        assert_eq!(ranges(text, Some("alice"), 1000), [(100_000, 65536), (200_000, 10)]);
        assert_eq!(ranges(text, None, 1000), [(200_000, 10)]);
        assert_eq!(ranges(text, Some("carol"), 7), []);
        assert_eq!(ranges("alice:4294967295:2\n", Some("alice"), 1), []);
    }

    #[test]
    fn a_map_starts_with_the_user_and_never_overlaps() {
        let map = map_with(1000, &[(100_000, 65536), (100_010, 5), (999, 2), (400_000, 10)]);
        let expected = [(0, 1000, 1), (1, 100_000, 65536), (65537, 400_000, 10)];
        assert_eq!(map.len(), expected.len());
        for (range, (inside, outside, count)) in map.iter().zip(expected) {
            assert_eq!(*range, Range { inside, outside, count });
        }
        assert_eq!(parse_map(&lines(&map)), map);
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 7), None);
    }
}

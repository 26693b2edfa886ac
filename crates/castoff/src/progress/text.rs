//! How numbers, times and foreign text are written.

use std::time::Duration;

/// Bytes in powers of 1000, as docker writes them: `32B`, `2.10kB`, `3.40MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.995 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// Seconds with one decimal.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// The time of a log line (B-150): the smaller, the more decimals.
pub(super) fn log_time(at: Duration) -> String {
    let seconds = at.as_secs_f64();
    let decimals = if seconds < 10.0 {
        3
    } else if seconds < 100.0 {
        2
    } else {
        1
    };
    format!("{seconds:.decimals$}")
}

/// `current / total`, when there is anything to say.
pub(super) fn amount(current: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => format!(" {} / {}", bytes(current), bytes(total)),
        _ if current > 0 => format!(" {}", bytes(current)),
        _ => String::new(),
    }
}

/// The name of a part: what is being transferred is followed by a colon (B-148).
pub(super) fn item(item: &str) -> String {
    let item = one_line(item);
    if item.starts_with("transferring ") && !item.ends_with(':') { item + ":" } else { item }
}

/// Replaces control characters and line ends by blanks, so that a name stays on its line.
pub(super) fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.trim_end().to_owned()
}

/// Removes what would move the cursor or change colours, and spreads tabs, so that a log line of a process
/// can stand in a frame.
pub(super) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut column = 0;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => skip_escape(&mut letters),
            '\t' => {
                let blanks = 8 - column % 8;
                clean.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            letter if letter.is_control() => {}
            letter => {
                clean.push(letter);
                column += letter_width(letter);
            }
        }
    }
    clean
}

/// Skips the rest of an escape sequence (ECMA-48): CSI up to its final byte, strings up to their
/// terminator, others by one character.
fn skip_escape(letters: &mut std::str::Chars<'_>) {
    match letters.next() {
        Some('[') => {
            letters.find(|letter| matches!(letter, '\x40'..='\x7e'));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(letter) = letters.next() {
                if letter == '\x07' {
                    return;
                }
                if letter == '\x1b' {
                    letters.next();
                    return;
                }
            }
        }
        // Intermediate bytes, such as in the choice of a character set, and then one final byte.
        Some('\x20'..='\x2f') => {
            letters.find(|letter| matches!(letter, '\x30'..='\x7e'));
        }
        Some(_) | None => {}
    }
}

/// The columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(letter_width).sum()
}

/// Cuts a text to some columns; three dots stand for the rest.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let dots = columns.min(3);
    let mut left = columns - dots;
    let kept = text.chars().take_while(|letter| {
        let fits = letter_width(*letter) <= left;
        left = left.saturating_sub(letter_width(*letter));
        fits
    });
    kept.chain(std::iter::repeat_n('.', dots)).collect()
}

/// The columns of a character: none for combining marks, two for the blocks of East Asian and pictorial
/// characters (Unicode Standard Annex 11). Exact tables are not worth a dependency: a line that is a
/// column off is all there is to lose.
fn letter_width(letter: char) -> usize {
    match letter as u32 {
        0..0x20 | 0x7f..0xa0 => 0,
        0x300..0x370 | 0x200b..0x2010 | 0x20d0..0x2100 | 0xfe00..0xfe10 | 0xfe20..0xfe30 | 0xfeff => 0,
        0x1100..0x1160
        | 0x2e80..0x303f
        | 0x3041..0xa4d0
        | 0xac00..0xd7a4
        | 0xf900..0xfb00
        | 0xfe30..0xfe70
        | 0xff00..0xff61
        | 0xffe0..0xffe7
        | 0x1f300..0x1f650
        | 0x1f680..0x1f700
        | 0x1f900..0x1fb00
        | 0x20000..0x3fffe => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_docker_writes_them() {
        let check = |count: u64, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0B");
        check(999, "999B");
        check(2_100, "2.10kB");
        check(3_400_000, "3.40MB");
        check(999_999, "1.00MB");
        check(u64::MAX, "18.45EB");
        assert_eq!(log_time(Duration::from_millis(9_123)), "9.123");
        assert_eq!(log_time(Duration::from_millis(12_345)), "12.35");
        assert_eq!(log_time(Duration::from_millis(123_456)), "123.5");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected, "{text:?}");
        check("plain", "plain");
        check("\x1b[31mred\x1b[0m", "red");
        check("\x1b[2J\x1b[Hgone", "gone");
        check("\x1b]0;title\x07text", "text");
        check("\x1b]8;;u\x1b\\link", "link");
        check("\x1b(Bset", "set");
        check("a\tb", "a       b");
        check("a\u{8}b\u{9b}c", "abc");
        check("cut\x1b[", "cut");
        check("cut\x1b", "cut");
    }

    #[test]
    fn texts_are_cut_to_columns() {
        let check = |text: &str, columns: usize, expected: &str| assert_eq!(cut(text, columns), expected);
        check("abcdef", 6, "abcdef");
        check("abcdefg", 6, "abc...");
        check("abcdefg", 2, "..");
        check("\u{4e16}\u{754c}\u{4e16}", 5, "\u{4e16}...");
        check("abc", 0, "");
    }
}

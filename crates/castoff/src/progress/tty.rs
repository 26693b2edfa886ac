//! Progress as a block of lines that is redrawn in place (B-156).
//!
//! A frame is one write, between the marks of a synchronized update, so that terminals which know them
//! never show half of it. It is never higher than the terminal: what matters least is left out, and the
//! last frame shows everything. The cursor stays below the block.

use std::fmt::Write as _;
use std::time::Duration;

use castoff_solver::Outcome;

use super::steps::{Status, Step, Steps};
use super::style::{Colors, RESET, TerminalSize};
use super::{RendererOptions, text};

pub(super) struct Tty {
    size: TerminalSize,
    colors: Option<Colors>,
    log_lines: usize,
    frame: Duration,
    drawn: Option<Duration>,
    /// Widths of the lines of the frame that is on the screen.
    shown: Vec<usize>,
}

/// A line of a frame.
struct Row {
    left: String,
    right: String,
    tone: Tone,
    rank: (Rank, usize),
}

/// What a line means, for its colour.
#[derive(Clone, Copy, PartialEq)]
enum Tone {
    Plain,
    Done,
    Error,
    Cancelled,
}

/// How much a line matters when there is no room for all, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failed,
    Running,
    Moving,
    Log,
    Ended,
    EndedPart,
}

/// Columns of the bar of a transfer, and the width of terminal below which there is none.
const BAR: usize = 20;
const BAR_FROM: usize = 72;

impl Tty {
    pub fn new(options: RendererOptions) -> Tty {
        Tty {
            size: options.size,
            colors: options.colors,
            log_lines: options.log_lines,
            frame: options.frame,
            drawn: None,
            shown: Vec::new(),
        }
    }

    pub fn resize(&mut self, size: TerminalSize) {
        self.size = size;
    }

    /// Returns the next frame, when it is time for one.
    pub fn event(&mut self, now: Duration, steps: &Steps) -> String {
        match self.drawn {
            // The first frame waits, too: a build that ends at once shows only its last one.
            None => {
                self.drawn = Some(now);
                String::new()
            }
            Some(drawn) if now.saturating_sub(drawn) < self.frame => String::new(),
            Some(_) => {
                self.drawn = Some(now);
                let mut rows = self.rows(now, steps);
                choose(&mut rows, usize::from(self.size.rows).saturating_sub(2).max(1));
                self.draw(now, steps, ("", Tone::Plain), rows)
            }
        }
    }

    /// Returns the last frame, in which nothing is left out.
    pub fn finish(&mut self, now: Duration, steps: &Steps, succeeded: bool) -> String {
        let rows = self.rows(now, steps);
        let tone = if succeeded { Tone::Done } else { Tone::Error };
        self.draw(now, steps, (" FINISHED", tone), rows)
    }

    fn draw(&mut self, now: Duration, steps: &Steps, (state, tone): (&str, Tone), rows: Vec<Row>) -> String {
        let columns = usize::from(self.size.columns).max(20);
        let (total, ended) = steps.counts();
        let heading = Row {
            left: format!("[+] Building {} ({ended}/{total}){state}", text::seconds(now)),
            right: "castoff".to_owned(),
            tone,
            rank: (Rank::Failed, 0),
        };
        let mut frame = String::from("\x1b[?2026h\x1b[?25l");
        // A terminal that became narrower has wrapped the lines of the frame before.
        let up: usize = self.shown.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if up > 0 {
            // Writing to a string cannot fail.
            let _ = write!(frame, "\x1b[{up}A");
        }
        frame.push('\r');
        self.shown.clear();
        for row in std::iter::once(heading).chain(rows) {
            let line = row.line(columns);
            self.shown.push(text::width(&line));
            frame.push_str("\x1b[2K");
            frame.push_str(&self.paint(&line, row.tone));
            frame.push_str("\r\n");
        }
        frame.push_str("\x1b[J\x1b[?25h\x1b[?2026l");
        frame
    }

    fn paint(&self, line: &str, tone: Tone) -> String {
        let Some(colors) = &self.colors else { return line.to_owned() };
        let color = match tone {
            Tone::Plain => return line.to_owned(),
            Tone::Done => &colors.run,
            Tone::Error => &colors.error,
            Tone::Cancelled => &colors.cancel,
        };
        format!("{color}{line}{RESET}")
    }

    fn rows(&self, now: Duration, steps: &Steps) -> Vec<Row> {
        let mut rows = Vec::new();
        let count = steps.order.len();
        for (place, step) in steps.order.iter().enumerate() {
            if let Some(step) = steps.get(*step) {
                self.step_rows(now, step, count - place, &mut rows);
            }
        }
        rows
    }

    /// Adds the lines of a step; `age` is lower for steps that began later.
    fn step_rows(&self, now: Duration, step: &Step, age: usize, rows: &mut Vec<Row>) {
        let (mark, tone, rank) = match step.ended.as_ref().map(|(_, outcome)| outcome) {
            None => ("", Tone::Plain, Rank::Running),
            Some(Outcome::Done) => ("", Tone::Done, Rank::Ended),
            Some(Outcome::Cached) => ("CACHED ", Tone::Done, Rank::Ended),
            Some(Outcome::Failed { .. }) => ("ERROR ", Tone::Error, Rank::Failed),
            Some(Outcome::Cancelled) => ("CANCELED ", Tone::Cancelled, Rank::Ended),
        };
        let time = text::seconds(step.duration(now));
        rows.push(Row { left: format!(" => {mark}{}", step.name), right: time, tone, rank: (rank, age) });
        let running = step.ended.is_none();
        for note in &step.notes {
            let left = format!(" => => {note}");
            rows.push(Row { left, right: String::new(), tone, rank: (Rank::EndedPart, age) });
        }
        for status in &step.statuses {
            let rank = if running && status.ended.is_none() { Rank::Moving } else { Rank::EndedPart };
            rows.push(self.status_row(now, step, status, tone, (rank, age)));
        }
        if running {
            let surplus = step.tail.len().saturating_sub(self.log_lines);
            let lines = step.tail.len() - surplus;
            for (place, line) in step.tail.iter().skip(surplus).enumerate() {
                rows.push(Row {
                    left: format!(" => => # {}", text::printable(&line.text)),
                    right: String::new(),
                    tone: Tone::Plain,
                    rank: (Rank::Log, lines - place),
                });
            }
        }
    }

    fn status_row(
        &self,
        now: Duration,
        step: &Step,
        status: &Status,
        tone: Tone,
        rank: (Rank, usize),
    ) -> Row {
        let ended = status.ended.or(step.ended.as_ref().map(|(ended, _)| *ended));
        let amount = text::amount(status.current, status.total);
        let bar = match status.total {
            Some(total) if ended.is_none() && usize::from(self.size.columns) >= BAR_FROM => {
                bar(status.current, total)
            }
            _ => String::new(),
        };
        Row {
            left: format!(" => => {}{bar}{amount}", shortened(&text::item(&status.item))),
            right: text::seconds(ended.unwrap_or(now).saturating_sub(status.started)),
            tone,
            rank,
        }
    }
}

impl Row {
    /// Returns the line, its right side at the edge.
    fn line(&self, columns: usize) -> String {
        if self.right.is_empty() {
            return text::cut(&self.left, columns);
        }
        let room = columns.saturating_sub(text::width(&self.right) + 1);
        let left = text::cut(&self.left, room);
        let blanks = room - text::width(&left) + 1;
        format!("{left}{:blanks$}{}", "", self.right)
    }
}

/// Keeps the lines that matter most, in their order.
fn choose(rows: &mut Vec<Row>, room: usize) {
    if rows.len() <= room {
        return;
    }
    let mut ranks: Vec<((Rank, usize), usize)> =
        rows.iter().enumerate().map(|(place, row)| (row.rank, place)).collect();
    ranks.sort_unstable();
    let mut kept = vec![false; rows.len()];
    for (_, place) in ranks.into_iter().take(room) {
        kept[place] = true;
    }
    let mut kept = kept.into_iter();
    rows.retain(|_| kept.next().unwrap_or(false));
}

fn bar(current: u64, total: u64) -> String {
    let done = (current.min(total) as f64 / total.max(1) as f64 * BAR as f64) as usize;
    let (head, rest) = if done < BAR { (">", BAR - done - 1) } else { ("", 0) };
    format!(" [{}{head}{}]", "=".repeat(done), " ".repeat(rest))
}

/// Cuts the digests of what is fetched and unpacked to the length at which people compare them. Names of
/// results stay whole, because they are copied.
fn shortened(item: &str) -> String {
    const HEX: usize = 12;
    let digest = item.strip_prefix("extracting ").unwrap_or(item);
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() > HEX && hex.is_ascii() => item[..item.len() - (hex.len() - HEX)].to_owned(),
        _ => item.to_owned(),
    }
}

//! Progress as lines: each step has a number, and its lines begin with it (B-142 to B-155).
//!
//! Several steps run at once, but one of them has the word. What the others say is kept until it has
//! ended, has been silent for a while, or has spoken for long. A step that has ended is shown at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use castoff_solver::{Event, Outcome, OutputStream, StepId};

use super::log::Piece;
use super::steps::{Status, Step, Steps, warning};
use super::text;

/// How long a step may keep the word without saying anything, when others have something to say.
const SILENCE: Duration = Duration::from_secs(1);

/// How long others wait while a step speaks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time and part of the whole between two lines of a transfer (B-148).
pub(super) const TRANSFER_TIME: Duration = Duration::from_secs(5);
const TRANSFER_PARTS: u64 = 20;

/// Columns of a step's name when names are cut (B-155).
const NAME_COLUMNS: usize = 72;

pub(super) struct Plain {
    cut_names: bool,
    opened: bool,
    /// Number of the last step that was shown.
    last_number: u32,
    /// The step that has the word.
    current: Option<StepId>,
    /// When it last said something.
    spoken: Duration,
    /// A line of a step whose end has not come yet.
    open_line: Option<(StepId, OutputStream)>,
    speakers: BTreeMap<StepId, Speaker>,
    /// Who has something to say, and since when; the mere fact that a step has started counts.
    waiting: BTreeMap<StepId, Duration>,
    text: String,
}

#[derive(Default)]
struct Speaker {
    number: Option<u32>,
    /// What waits to be shown.
    queue: Vec<Entry>,
    /// When each transfer was last shown, and how far it was.
    transfers: BTreeMap<String, (Duration, u64)>,
}

enum Entry {
    Line(String),
    Log(Piece),
}

impl Plain {
    pub fn new(cut_names: bool) -> Plain {
        Plain {
            cut_names,
            opened: false,
            last_number: 0,
            current: None,
            spoken: Duration::ZERO,
            open_line: None,
            speakers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            text: String::new(),
        }
    }

    /// Returns the text to write.
    pub fn event(&mut self, now: Duration, event: &Event, steps: &Steps, pieces: Vec<Piece>) -> String {
        match event {
            Event::Planned { .. } => {}
            Event::Started { step } => self.wait(now, *step, None),
            Event::Output { step, .. } => self.wait_logs(now, *step, pieces),
            Event::Status { step, item, .. } => {
                let status =
                    steps.get(*step).and_then(|known| known.statuses.iter().find(|s| s.item == *item));
                if let Some(line) = status.and_then(|status| self.transfer(now, *step, status)) {
                    self.wait(now, *step, Some(Entry::Line(line)));
                }
            }
            Event::Note { step, text } => {
                self.wait(now, *step, Some(Entry::Line(text::one_line(text))));
            }
            Event::Warning { step: Some(step), rule, text, line } => {
                let line = format!("WARN: {}", warning(rule.as_deref(), text, *line));
                self.wait(now, *step, Some(Entry::Line(line)));
            }
            // Shown at the end only, or not at all.
            Event::Warning { step: None, .. } | Event::Fact { .. } => {}
            Event::Finished { step, .. } if !steps.is_active(*step) => {}
            Event::Finished { step, outcome } => {
                self.wait_logs(now, *step, pieces);
                let duration = steps.get(*step).map(|known| known.duration(now)).unwrap_or_default();
                self.wait(now, *step, Some(Entry::Line(end_line(outcome, duration))));
                self.give_word(now, *step, steps);
            }
        }
        self.settle(now, steps);
        std::mem::take(&mut self.text)
    }

    /// Returns the text to write after some time has passed.
    pub fn tick(&mut self, now: Duration, steps: &Steps, pieces: Vec<(StepId, Piece)>) -> String {
        for (step, piece) in pieces {
            self.wait(now, step, Some(Entry::Log(piece)));
        }
        self.settle(now, steps);
        std::mem::take(&mut self.text)
    }

    /// Returns everything that is still to be written.
    pub fn finish(&mut self, now: Duration, steps: &Steps, pieces: Vec<(StepId, Piece)>) -> String {
        for (step, piece) in pieces {
            self.wait(now, step, Some(Entry::Log(piece)));
        }
        while let Some(step) = self.longest_waiting() {
            self.give_word(now, step, steps);
        }
        self.close_line();
        std::mem::take(&mut self.text)
    }

    fn wait_logs(&mut self, now: Duration, step: StepId, pieces: Vec<Piece>) {
        for piece in pieces {
            self.wait(now, step, Some(Entry::Log(piece)));
        }
    }

    fn wait(&mut self, now: Duration, step: StepId, entry: Option<Entry>) {
        self.speakers.entry(step).or_default().queue.extend(entry);
        self.waiting.entry(step).or_insert(now);
    }

    /// Gives the word to whom it belongs now.
    fn settle(&mut self, now: Duration, steps: &Steps) {
        if let Some(current) = self.current.filter(|current| self.waiting.contains_key(current)) {
            self.give_word(now, current, steps);
        }
        let Some(next) = self.longest_waiting() else { return };
        let waiting = self.waiting.get(&next).copied().unwrap_or(now);
        let silent = now.saturating_sub(self.spoken) >= SILENCE;
        if self.current.is_none() || silent || now.saturating_sub(waiting) >= PATIENCE {
            self.give_word(now, next, steps);
        }
    }

    fn longest_waiting(&self) -> Option<StepId> {
        self.waiting.iter().min_by_key(|(step, since)| (**since, **step)).map(|(step, _)| *step)
    }

    /// Shows what a step has to say, its name first unless it had the word already.
    fn give_word(&mut self, now: Duration, step: StepId, steps: &Steps) {
        let unknown = Step::default();
        let name = &steps.get(step).unwrap_or(&unknown).name;
        if self.current != Some(step) {
            self.close_line();
            if let Some(number) = self.current.and_then(|current| self.speakers.get(&current)?.number) {
                self.line(number, "...");
            }
            if !self.opened {
                self.opened = true;
                // The shape of docker's output, in which numbers begin at 1 (B-144).
                self.text.push_str("#0 building with \"castoff\" instance using castoff driver\n");
            }
            self.text.push('\n');
            let number = self.number(step);
            let name = if self.cut_names { text::cut(name, NAME_COLUMNS) } else { name.clone() };
            self.line(number, &name);
            self.current = Some(step);
        }
        let number = self.number(step);
        self.waiting.remove(&step);
        let queue = std::mem::take(&mut self.speakers.entry(step).or_default().queue);
        for entry in queue {
            match entry {
                Entry::Line(line) => {
                    self.close_line();
                    self.line(number, &line);
                }
                Entry::Log(piece) => self.log(number, step, &piece),
            }
        }
        self.spoken = now;
        // A step that has ended does not come back to its word, even when something was said after its end.
        if steps.get(step).is_some_and(|known| known.ended.is_some()) {
            self.close_line();
            self.current = None;
        }
    }

    /// Returns the numbers of the steps that were shown.
    pub fn numbers(&self) -> BTreeMap<StepId, u32> {
        self.speakers.iter().filter_map(|(step, speaker)| Some((*step, speaker.number?))).collect()
    }

    fn number(&mut self, step: StepId) -> u32 {
        let speaker = self.speakers.entry(step).or_default();
        *speaker.number.get_or_insert_with(|| {
            self.last_number += 1;
            self.last_number
        })
    }

    fn line(&mut self, number: u32, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "#{number} {line}");
    }

    /// B-150
    fn log(&mut self, number: u32, step: StepId, piece: &Piece) {
        let continues = !piece.starts && self.open_line == Some((step, piece.stream));
        if !continues {
            self.close_line();
            if !piece.starts && piece.text.is_empty() {
                return;
            }
            // Writing to a string cannot fail.
            let _ = write!(self.text, "#{number} {} ", text::log_time(piece.at));
        }
        self.text.push_str(&piece.text);
        self.open_line = Some((step, piece.stream));
        if piece.ends {
            self.close_line();
        }
    }

    fn close_line(&mut self) {
        if self.open_line.take().is_some() {
            self.text.push('\n');
        }
    }

    /// Returns the line of a transfer, when it is time for one (B-148).
    fn transfer(&mut self, now: Duration, step: StepId, status: &Status) -> Option<String> {
        let speaker = self.speakers.entry(step).or_default();
        let due = match speaker.transfers.get(&status.item) {
            // It has ended before; nothing is to be added.
            Some((_, u64::MAX)) => false,
            None => true,
            Some((shown, at)) => {
                let part = status.total.is_some_and(|total| {
                    total > 0 && status.current.saturating_sub(*at) >= total.div_ceil(TRANSFER_PARTS)
                });
                status.ended.is_some() || part || now.saturating_sub(*shown) >= TRANSFER_TIME
            }
        };
        if !due {
            return None;
        }
        let shown = if status.ended.is_some() { u64::MAX } else { status.current };
        speaker.transfers.insert(status.item.clone(), (now, shown));
        let took = status.ended.unwrap_or(now).saturating_sub(status.started);
        let time = if took > Duration::from_millis(10) {
            format!(" {}", text::seconds(took))
        } else {
            String::new()
        };
        let done = if status.ended.is_some() { " done" } else { "" };
        Some(format!(
            "{}{}{time}{done}",
            text::item(&status.item),
            text::amount(status.current, status.total)
        ))
    }
}

fn end_line(outcome: &Outcome, duration: Duration) -> String {
    match outcome {
        Outcome::Done => format!("DONE {}", text::seconds(duration)),
        Outcome::Cached => "CACHED".to_owned(),
        Outcome::Failed { message } => format!("ERROR: {}", text::one_line(message)),
        Outcome::Cancelled => "CANCELED".to_owned(),
    }
}

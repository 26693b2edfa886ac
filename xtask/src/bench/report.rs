//! What was measured: as a table for readers, and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::builders::{BUILDKIT, CASTOFF, ROOTLESS};
use super::measure::{Outcome, spread};
use super::workloads::{Row, Target};

/// What castoff may take, whatever it builds.
pub(super) const MEMORY: u64 = 150_000_000;

/// What one builder did for a row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) builder: String,
    /// Why there are no times.
    pub(super) reason: Option<String>,
    pub(super) seconds: Vec<f64>,
    /// Peak memory of the largest process that was started for the build, steps included.
    pub(super) client_bytes: Option<u64>,
    /// Peak memory of the engine and containerd.
    pub(super) daemon_bytes: Option<u64>,
    /// What the build added to the store.
    pub(super) disk_bytes: Option<u64>,
    pub(super) archive_bytes: Option<u64>,
    /// In how many of the builds at once the step that all share was executed, in each round.
    pub(super) shared_runs: Vec<usize>,
    /// How the image compares with castoff's.
    pub(super) verified: Option<String>,
    pub(super) differences: Vec<String>,
}

impl Cell {
    pub(super) fn new(builder: &str) -> Cell {
        Cell {
            builder: builder.to_owned(),
            reason: None,
            seconds: Vec::new(),
            client_bytes: None,
            daemon_bytes: None,
            disk_bytes: None,
            archive_bytes: None,
            shared_runs: Vec::new(),
            verified: None,
            differences: Vec::new(),
        }
    }

    /// Takes how a build ended; false when nothing more is to be expected.
    pub(super) fn accept(&mut self, outcome: Outcome) -> bool {
        self.reason = match outcome {
            Outcome::Done(_) => return true,
            Outcome::Unsupported(said) => Some(format!("not built yet: {said}")),
            Outcome::Failed(said) => Some(format!("failed: {said}")),
        };
        false
    }

    /// Whether a build went wrong, rather than not being offered.
    pub(super) fn failed(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.starts_with("failed"))
    }

    fn median(&self) -> Option<f64> {
        Some(spread(&self.seconds)?.median)
    }
}

/// What is said of a target.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    pub(super) text: String,
    pub(super) met: bool,
}

/// A row with everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RowResult {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) limit_name: String,
    pub(super) limit: Vec<f64>,
    pub(super) beyond_name: Option<String>,
    pub(super) beyond: Vec<f64>,
    pub(super) cells: Vec<Cell>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) gzip_bytes: Option<u64>,
    #[serde(skip)]
    targets: Vec<Target>,
}

impl RowResult {
    pub(super) fn new(row: &Row, cells: Vec<Cell>) -> RowResult {
        RowResult {
            name: row.name.to_owned(),
            title: row.title.clone(),
            limit_name: row.limit.name.clone(),
            limit: Vec::new(),
            beyond_name: row.beyond.as_ref().map(|limit| limit.name.clone()),
            beyond: Vec::new(),
            cells,
            verdicts: Vec::new(),
            gzip_bytes: row.gzip_bytes,
            targets: row.targets.clone(),
        }
    }

    fn median_of(&self, builder: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.builder == builder)?.median()
    }

    /// Returns castoff's median.
    pub(super) fn ours(&self) -> Option<f64> {
        self.median_of(CASTOFF)
    }

    /// Compares with the targets that this row alone decides.
    pub(super) fn judge(&mut self) {
        let Some(ours) = self.ours() else { return };
        let beyond = spread(&self.beyond).map_or(0.0, |spread| spread.median);
        for target in self.targets.clone() {
            let ratio = match target {
                Target::OfBuildKit(most) => {
                    let Some(other) = self.median_of(BUILDKIT) else { continue };
                    let words = if beyond > 0.0 { "of BuildKit beyond the writing" } else { "of BuildKit" };
                    // Below the writing itself there is only noise.
                    Some((((ours - beyond).max(0.0)) / (other - beyond).max(0.001), most, words))
                }
                Target::OfLimit(most) => {
                    spread(&self.limit).map(|limit| (ours / limit.median, most, "of the limit"))
                }
                Target::RootlessOfLimit(most) => match (self.median_of(ROOTLESS), spread(&self.limit)) {
                    (Some(time), Some(limit)) => {
                        Some((time / limit.median, most, "of the limit as an ordinary user"))
                    }
                    _ => None,
                },
                Target::Seconds(most) => {
                    let text = format!("{ours:.3} s, at most {most} s");
                    self.verdicts.push(Verdict { text, met: ours <= most });
                    None
                }
                Target::OfRow(..) => None,
            };
            self.verdicts.extend(ratio.map(|(ratio, most, words)| verdict(ratio, most, words)));
        }
        let castoff = self.cells.iter().find(|cell| cell.builder == CASTOFF);
        if let (Some(gzip), Some(archive)) = (self.gzip_bytes, castoff.and_then(|cell| cell.archive_bytes)) {
            let ratio = archive as f64 / gzip as f64;
            self.verdicts.push(verdict(ratio, 1.1, "of the size by gzip -6"));
        }
        let peak = castoff.and_then(|cell| cell.client_bytes);
        if let Some(peak) = peak.filter(|peak| *peak > MEMORY) {
            let text = format!("{} of memory, at most {}", megabytes(peak), megabytes(MEMORY));
            self.verdicts.push(Verdict { text, met: false });
        }
    }

    /// Compares with the targets that other rows decide.
    pub(super) fn judge_by(&mut self, own: &BTreeMap<String, f64>) {
        let Some(ours) = self.ours() else { return };
        for target in self.targets.clone() {
            if let Target::OfRow(name, most) = target
                && let Some(other) = own.get(name)
            {
                self.verdicts.push(verdict(ours / other, most, &format!("of castoff's {name}")));
            }
        }
    }

    /// Returns the row as lines of a table.
    pub(super) fn print(&self) -> String {
        let mut text = format!("{}  {}\n", self.name, self.title);
        let head = ["", "median", "least", "most", "castoff x", "client", "daemon", "disk"];
        line(&mut text, &head.map(str::to_owned));
        let ours = self.ours();
        for cell in &self.cells {
            let Some(times) = spread(&cell.seconds) else {
                let reason = cell.reason.as_deref().unwrap_or("not measured");
                let first = reason.lines().next().unwrap_or_default();
                writeln!(text, "  {:<18}{first}", cell.builder).expect("a text takes everything");
                continue;
            };
            let ratio = ours.map_or(String::new(), |ours| format!("{:.2}", times.median / ours));
            let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), megabytes);
            line(
                &mut text,
                &[
                    cell.builder.clone(),
                    seconds(times.median),
                    seconds(times.least),
                    seconds(times.most),
                    ratio,
                    bytes(cell.client_bytes),
                    bytes(cell.daemon_bytes),
                    bytes(cell.disk_bytes),
                ],
            );
        }
        for (name, times) in
            [(Some(&self.limit_name), &self.limit), (self.beyond_name.as_ref(), &self.beyond)]
        {
            if let (Some(name), Some(times)) = (name, spread(times)) {
                let ratio = ours
                    .map_or(String::new(), |ours| format!(", castoff takes {:.2} x", ours / times.median));
                writeln!(text, "  limit: {} for {name}{ratio}", seconds(times.median)).expect("a text");
            }
        }
        for cell in &self.cells {
            if let Some(bytes) = cell.archive_bytes {
                writeln!(text, "  archive of {}: {}", cell.builder, megabytes(bytes)).expect("a text");
            }
        }
        for cell in self.cells.iter().filter(|cell| !cell.shared_runs.is_empty()) {
            let runs = &cell.shared_runs;
            writeln!(text, "  {} executed the shared step {runs:?} times", cell.builder).expect("a text");
        }
        for verdict in &self.verdicts {
            let met = if verdict.met { "met" } else { "MISSED" };
            writeln!(text, "  target: {}: {met}", verdict.text).expect("a text takes everything");
        }
        for cell in &self.cells {
            if let Some(verified) = &cell.verified {
                writeln!(text, "  image of {}: {verified}", cell.builder).expect("a text takes everything");
            }
        }
        text
    }

    /// Returns the row as a line of the table in the documents.
    pub(super) fn markdown(&self, builders: &[String]) -> String {
        let mut text = format!("| {} | {} |", self.name, self.title);
        for builder in builders {
            let shown = match self.median_of(builder) {
                Some(median) => seconds(median),
                None => "-".to_owned(),
            };
            write!(text, " {shown} |").expect("a text takes everything");
        }
        let limit = spread(&self.limit).map_or("-".to_owned(), |times| seconds(times.median));
        write!(text, " {limit} ({}) |", self.limit_name).expect("a text takes everything");
        let verdicts: Vec<String> = self
            .verdicts
            .iter()
            .map(|verdict| format!("{}: {}", verdict.text, if verdict.met { "met" } else { "**missed**" }))
            .collect();
        write!(text, " {} |", verdicts.join("; ")).expect("a text takes everything");
        text
    }
}

fn verdict(ratio: f64, most: f64, words: &str) -> Verdict {
    Verdict { text: format!("{ratio:.3} {words}, at most {most:.3}"), met: ratio <= most }
}

fn line(text: &mut String, fields: &[String; 8]) {
    let [name, rest @ ..] = fields;
    write!(text, "  {name:<18}").expect("a text takes everything");
    for field in rest {
        write!(text, "{field:>11}").expect("a text takes everything");
    }
    text.push('\n');
}

/// Returns a time as readers want it.
pub(super) fn seconds(time: f64) -> String {
    match time {
        time if time < 0.1 => format!("{:.1} ms", time * 1000.0),
        time if time < 1.0 => format!("{:.0} ms", time * 1000.0),
        time => format!("{time:.2} s"),
    }
}

/// Returns a size as readers want it.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(ours: f64, other: f64, beyond: f64, target: Target) -> RowResult {
        let mut cells = vec![Cell::new(CASTOFF), Cell::new(BUILDKIT)];
        cells[0].seconds = vec![ours];
        cells[1].seconds = vec![other];
        RowResult {
            name: "W0".to_owned(),
            title: String::new(),
            limit_name: "nothing".to_owned(),
            limit: vec![1.0],
            beyond_name: None,
            beyond: vec![beyond],
            cells,
            verdicts: Vec::new(),
            gzip_bytes: None,
            targets: vec![target],
        }
    }

    #[test]
    fn targets_are_ratios_to_what_was_measured_beside() {
        let check = |mut result: RowResult, met: bool| {
            result.judge();
            result.judge_by(&BTreeMap::from([("W1".to_owned(), 1.0)]));
            assert_eq!(result.verdicts.iter().map(|verdict| verdict.met).collect::<Vec<_>>(), [met]);
        };
        check(result(1.0, 10.0, 0.0, Target::OfBuildKit(0.1)), true);
        check(result(1.1, 10.0, 0.0, Target::OfBuildKit(0.1)), false);
        // Of 3 s and 4 s, 2 s are nobody's.
        check(result(3.0, 4.0, 2.0, Target::OfBuildKit(0.5)), true);
        check(result(3.1, 4.0, 2.0, Target::OfBuildKit(0.5)), false);
        check(result(1.6, 9.0, 0.0, Target::OfLimit(1.5)), false);
        check(result(2.1, 9.0, 0.0, Target::Seconds(2.1)), true);
        check(result(1.2, 9.0, 0.0, Target::OfRow("W1", 1.0)), false);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let mut result = result(1.0, 2.0, 0.0, Target::Seconds(1.0));
        assert!(!result.cells[1].accept(Outcome::Unsupported("no push".to_owned())));
        result.cells[1].seconds.clear();
        assert!(result.print().contains("not built yet: no push"));
    }
}

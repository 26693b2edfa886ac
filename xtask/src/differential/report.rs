//! What is printed, and whether it is good.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::cases::Case;
use super::compare::compare;
use super::known::Known;
use super::peer::Peer;
use super::{Builder, Made, Outcome};

/// Counts, and prints differences as they come.
pub(super) struct Report {
    verbose: bool,
    started: i64,
    unexpected: u32,
    stale: u32,
    compared: u32,
    counts: BTreeMap<&'static str, Counts>,
    seen: BTreeSet<(&'static str, usize)>,
}

#[derive(Default)]
struct Counts {
    same: u32,
    both_fail: u32,
    known: u32,
    unexpected: u32,
}

impl Report {
    pub(super) fn new(verbose: bool, started: i64) -> Report {
        Report {
            verbose,
            started,
            unexpected: 0,
            stale: 0,
            compared: 0,
            counts: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Adds what was found out about a case.
    pub(super) fn add(&mut self, case: &Case, peer: &Peer<'_>, known: &Known, castoff: &Made, other: &Made) {
        let differences = compare(case, castoff, other, peer.kind, self.started);
        self.compared += 1;
        let counts = self.counts.entry(peer.name()).or_default();
        let mut unexpected = Vec::new();
        let mut expected = BTreeSet::new();
        for difference in differences {
            match known.find(peer, &case.name, &difference) {
                Some(number) => {
                    self.seen.insert((peer.name(), number));
                    expected.insert(number);
                }
                None => unexpected.push(difference),
            }
        }
        if self.verbose {
            for number in &expected {
                println!("known: {} with {}: {}", case.name, peer.name(), known.entry(*number).describe());
            }
        }
        if unexpected.is_empty() {
            let same = expected.iter().all(|number| known.is_general(*number));
            match (same, &castoff.outcome) {
                (false, _) => counts.known += 1,
                (true, Outcome::Built) => counts.same += 1,
                (true, Outcome::Failed(_)) => counts.both_fail += 1,
            }
            return;
        }
        counts.unexpected += 1;
        self.unexpected += 1;
        println!("\nDIFFERENT from {}: {}", peer.name(), case.name);
        for line in case.text.lines() {
            println!("    {line}");
        }
        for difference in unexpected {
            println!(
                "  {}\n    castoff: {}\n    {}: {}",
                difference.key,
                difference.castoff,
                peer.name(),
                difference.peer
            );
        }
        for (name, outcome) in [("castoff", castoff), (peer.name(), other)] {
            if let Outcome::Failed(text) = &outcome.outcome {
                println!("  {name} said:\n{}", indented(text));
            }
        }
    }

    /// Names the known differences of a peer that no case shows any more.
    pub(super) fn stale(&mut self, known: &Known, peer: &Peer<'_>, cases: &[Case]) {
        let names: Vec<String> =
            cases.iter().filter(|case| case.is_for(peer.kind)).map(|case| case.name.clone()).collect();
        for (number, entry) in known.expected(peer, &names) {
            if !self.seen.contains(&(peer.name(), number)) {
                self.stale += 1;
                println!("STALE: {} is known and no more: {}", peer.name(), entry.describe());
            }
        }
    }

    /// Prints the summary; fails if something is not as expected.
    pub(super) fn finish(self) -> Result<()> {
        println!();
        for (peer, counts) in &self.counts {
            println!(
                "{peer}: {} same, {} failed by both, {} with known differences, {} different",
                counts.same, counts.both_fail, counts.known, counts.unexpected
            );
        }
        println!("{} passed, {} failed", self.compared - self.unexpected, self.unexpected);
        ensure!(self.unexpected == 0, "{} cases differ", self.unexpected);
        ensure!(self.stale == 0, "{} known differences are no more", self.stale);
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    | {line}\n")).collect()
}

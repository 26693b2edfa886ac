//! The differential test: the same Dockerfiles built by castoff and by others, compared entry by entry.
//!
//! Cases are data in `xtask/differential/*.toml` or come from a seeded grammar. Every builder starts from
//! the same imported base, and what it made is read from an archive by a reader that shares no code with
//! castoff. A difference is an error unless `known.toml` lists it with its reason, and so is a listed
//! difference that is no more.

mod cases;
mod castoff_side;
mod compare;
mod context;
mod generate;
mod known;
mod options;
mod peer;
mod report;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::castoff::Castoff;
use crate::peers::{self, image::Image};
use cases::Case;
use castoff_side::CastoffSide;
use known::Known;
use options::Options;
use peer::Peer;
use report::Report;
use world::World;

/// What a builder made of a case.
enum Outcome {
    /// An image, which is read later.
    Built,
    /// The last words of a failure.
    Failed(String),
}

/// Something that builds Dockerfiles.
trait Builder: Sync {
    /// Makes an image of the common base.
    fn import(&self, tar: &Path, name: &str) -> Result<()>;
    /// Builds a case under its name.
    fn build(&self, case: &Case) -> Result<Outcome>;
    /// Reads images that were built.
    fn images(&self, cases: &[&Case]) -> Result<BTreeMap<String, Image>>;
    /// How many builds it can do at once.
    fn jobs(&self) -> usize;
}

/// Runs the test as the command line says.
pub fn main(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    if options.list {
        for case in cases::all(&options)? {
            println!("{}", case.name);
        }
        return Ok(());
    }
    if !world::is_entered() {
        return peers::world::enter(world::COMMAND, arguments);
    }
    let world = World::prepare(world::COMMAND, &options.suite)?;
    let castoff = Castoff::locate_at(&world::directory().join("castoff"))?;
    let cases = cases::all(&options)?;
    cases::write(&cases)?;
    let base = context::base_root(&world::directory())?;
    let known = Known::load()?;

    let ours = CastoffSide::new(castoff);
    let (mut outcomes, mut images) = run(&ours, &cases, &base, "castoff")?;
    let mut report = Report::new(options.verbose);
    for kind in &options.peers {
        let peer = Peer::start(*kind, &world)?;
        let wanted: Vec<Case> = cases.iter().filter(|case| case.is_for(*kind)).cloned().collect();
        let (theirs, their_images) = run(&peer, &wanted, &base, peer.name())?;
        for case in &wanted {
            let mine = (&outcomes[&case.name], images.get(&case.name));
            let other = (&theirs[&case.name], their_images.get(&case.name));
            let differences = compare::compare(case, mine, other, *kind, world.started);
            report.add(case, &peer, differences, &known, mine.0, other.0);
        }
        if !options.is_partial() {
            report.stale(&known, &peer, &cases);
        }
    }
    outcomes.clear();
    images.clear();
    report.finish()
}

type Results = (BTreeMap<String, Outcome>, BTreeMap<String, Image>);

/// Builds all cases with one builder and reads what it made.
fn run(builder: &dyn Builder, cases: &[Case], base: &Path, name: &str) -> Result<Results> {
    let started = Instant::now();
    for image in cases::BASES {
        builder.import(base, image).with_context(|| format!("{name} cannot import the base"))?;
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..builder.jobs() {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match builder.build(case) {
                        Ok(outcome) => {
                            outcomes.lock().expect("no panic").insert(case.name.clone(), outcome);
                        }
                        Err(error) => {
                            *failure.lock().expect("no panic") = Some(error);
                            next.store(cases.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().expect("no panic") {
        return Err(error);
    }
    let outcomes = outcomes.into_inner().expect("no panic");
    let built: Vec<&Case> =
        cases.iter().filter(|case| matches!(outcomes[&case.name], Outcome::Built)).collect();
    let building = started.elapsed();
    let mut images = BTreeMap::new();
    for batch in built.chunks(50) {
        images.extend(builder.images(batch).with_context(|| format!("{name}'s images cannot be read"))?);
    }
    println!(
        "{name}: {} built, {} failed in {:.1} s, read in {:.1} s",
        built.len(),
        cases.len() - built.len(),
        building.as_secs_f64(),
        (started.elapsed() - building).as_secs_f64()
    );
    Ok((outcomes, images))
}

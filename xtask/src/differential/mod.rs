//! The differential test: the same Dockerfiles built by castoff and by others, compared entry by entry.
//!
//! Cases are data in `xtask/differential/*.toml` or come from a seeded grammar. Every builder starts from
//! the same imported base, and what it made is read from an archive by a reader that shares no code with
//! castoff. A difference is an error unless `known.toml` lists it with its reason, and so is a listed
//! difference that is no more.

mod cache;
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
use serde::{Deserialize, Serialize};

use crate::castoff::Castoff;
use crate::peers::{self, image::Image};
use cases::Case;
use castoff_side::CastoffSide;
use known::Known;
use options::Options;
use peer::Peer;
use report::Report;
use world::World;

/// How a build ended.
#[derive(Serialize, Deserialize)]
enum Outcome {
    /// With an image.
    Built,
    /// The last words of a failure.
    Failed(String),
}

/// What a builder made of a case.
#[derive(Serialize, Deserialize)]
struct Made {
    outcome: Outcome,
    /// The image, if there is one that can be read.
    image: Option<Image>,
}

/// Something that builds Dockerfiles.
trait Builder: Sync {
    /// Makes an image of the common base.
    fn import(&self, tar: &Path, name: &str) -> Result<()>;
    /// Builds a case under its name.
    fn build(&self, case: &Case) -> Result<Outcome>;
    /// Reads images that were built.
    fn images(&self, cases: &[&Case]) -> Result<BTreeMap<String, Image>>;
    /// What it is called.
    fn name(&self) -> &'static str;
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

    let ours = run(&CastoffSide::new(castoff), &cases.iter().collect::<Vec<_>>(), &base)?;
    let mut report = Report::new(options.verbose, world.started);
    for kind in &options.peers {
        let mut peer = Peer::find(*kind, &world)?;
        println!("{} {} of Debian", peer.name(), peer.version);
        let theirs = ask(&mut peer, &cases, &base, &options, world.started)?;
        for case in cases.iter().filter(|case| case.is_for(*kind)) {
            report.add(case, &peer, &known, &ours[&case.name], &theirs[&case.name]);
        }
        if !options.is_partial() {
            report.stale(&known, &peer, &cases);
        }
    }
    report.finish()
}

/// Returns what a peer makes of the cases, from earlier runs where it was asked the same before.
fn ask(peer: &mut Peer<'_>, cases: &[Case], base: &Path, options: &Options, started: i64) -> Result<Results> {
    let cache = cache::Cache::open(peer, cases)?;
    let mut made = Results::new();
    for case in cases.iter().filter(|case| case.is_for(peer.kind) && !options.fresh) {
        made.extend(cache.load(case).map(|earlier| (case.name.clone(), earlier)));
    }
    let wanted = |case: &&Case| case.is_for(peer.kind) && !made.contains_key(&case.name);
    if !cases.iter().any(|case| wanted(&case)) {
        return Ok(made);
    }
    // Others stand on the first ones.
    let wanted: Vec<&Case> =
        cases.iter().filter(|case| case.group == cases::BASE_GROUP || wanted(case)).collect();
    peer.start()?;
    for (name, mut new) in run(peer, &wanted, base)? {
        if let Some(case) = cases.iter().find(|case| case.name == name) {
            cache.store(case, &mut new, started)?;
        }
        made.insert(name, new);
    }
    Ok(made)
}

type Results = BTreeMap<String, Made>;

/// Builds all cases with one builder and reads what it made.
fn run(builder: &dyn Builder, cases: &[&Case], base: &Path) -> Result<Results> {
    let (started, name) = (Instant::now(), builder.name());
    for image in cases::BASES {
        builder.import(base, image).with_context(|| format!("{name} cannot import the base"))?;
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    let (first, others): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.group == cases::BASE_GROUP);
    for case in first {
        outcomes.lock().expect("no panic").insert(case.name.clone(), builder.build(case)?);
    }
    std::thread::scope(|scope| {
        for _ in 0..builder.jobs() {
            scope.spawn(|| {
                while let Some(case) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
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
    let is_built = |case: &&&Case| matches!(outcomes[&case.name], Outcome::Built);
    let built: Vec<&Case> = cases.iter().filter(is_built).copied().collect();
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
    let made = |(name, outcome)| {
        let image = images.remove(&name);
        (name, Made { outcome, image })
    };
    Ok(outcomes.into_iter().map(made).collect())
}

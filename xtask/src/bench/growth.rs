//! How time and memory grow with the size of the work: castoff and one peer.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::builders::{self, BUILDKIT, Builder, CASTOFF};
use super::chart::{self, Panel};
use super::measure::{self, Outcome};
use super::options::Options;
use super::registry::Registry;
use super::report::{MEMORY, megabytes, seconds};
use super::run::Runner;
use super::workloads::{Inputs, Row, SERIES, Series};
use super::{COMMAND, Machine, directory};
use crate::command::repository;
use crate::peers::{Docker, World};

/// What a builder took for one size.
#[derive(Debug, Clone, Serialize)]
struct Point {
    size: u64,
    seconds: f64,
    client_bytes: u64,
}

/// A builder's points of one series.
#[derive(Debug, Clone, Serialize)]
struct Line {
    series: &'static str,
    builder: String,
    points: Vec<Point>,
    /// Seconds per unit, by least squares.
    slope: Option<f64>,
    /// The first thing that went wrong, after which nothing larger was tried.
    failure: Option<String>,
}

/// Measures all series, or those that were asked for.
pub(super) fn main(options: &Options) -> Result<()> {
    let wanted: Vec<&Series> = SERIES.iter().filter(|series| options.wants(series.name)).collect();
    ensure!(!wanted.is_empty(), "there is no series of these names");
    let world = World::prepare(COMMAND, &options.suite)?;
    let registry = Registry::start(&world.directory)?;
    let inputs = Inputs::prepare(options, &registry, &world.directory)?;
    let engine = options.peer == BUILDKIT || options.peer == "docker-classic";
    let docker = if engine { Some(Docker::start(&world)?) } else { None };
    let mut builders = builders::all(options, &world, docker.as_ref(), &registry)?;
    builders.retain(|builder| builder.is_castoff() || builder.name == options.peer);
    ensure!(builders.len() == 2, "there is no builder `{}` to compare with", options.peer);
    println!("{}", Machine::look()?.describe());
    let runner = Runner { options, world: &world, registry: &registry, builders: &builders };
    let mut lines: Vec<Line> = Vec::new();
    for series in wanted {
        let found = measure_series(&runner, &inputs, series)?;
        for line in &found {
            println!("{}", line.describe(series));
        }
        lines.extend(found);
        publish(options, &builders, &lines)?;
    }
    let failed: Vec<&Line> =
        lines.iter().filter(|line| line.builder == CASTOFF && line.failure.is_some()).collect();
    if let Some(line) = failed.first() {
        bail!("castoff fails in {}: {}", line.series, line.failure.as_deref().unwrap_or_default());
    }
    Ok(())
}

fn measure_series(runner: &Runner<'_>, inputs: &Inputs<'_>, series: &Series) -> Result<Vec<Line>> {
    println!("\n{}", series.name);
    let mut lines: Vec<Line> = runner
        .builders
        .iter()
        .map(|builder| Line {
            series: series.name,
            builder: builder.name.clone(),
            points: Vec::new(),
            slope: None,
            failure: None,
        })
        .collect();
    for size in series.sizes(runner.options.max) {
        let row = (series.make)(inputs, size)?;
        for (builder, line) in runner.builders.iter().zip(&mut lines) {
            if line.failure.is_none() {
                measure_point(runner, inputs, &row, builder, line, size)
                    .with_context(|| format!("{} {size} by {}", series.name, builder.name))?;
            }
        }
        inputs.clear()?;
    }
    for line in &mut lines {
        line.slope = slope(&line.points);
    }
    Ok(lines)
}

/// Measures `--repeat` times and keeps the best, which has the least of others' work in it.
fn measure_point(
    runner: &Runner<'_>,
    inputs: &Inputs<'_>,
    row: &Row,
    builder: &Builder<'_>,
    line: &mut Line,
    size: u64,
) -> Result<()> {
    let mut best: Option<Point> = None;
    for round in 0..runner.options.repeat {
        builder.reset(&row.kept)?;
        let build = runner.build(inputs, row, builder, &format!("{size}-{round}"), 0)?;
        measure::settle()?;
        let (outcome, client_bytes) = measure::peak(builder.commands(&build)?, &runner.log(&builder.name))?;
        match outcome {
            Outcome::Done(seconds) => {
                if best.as_ref().is_none_or(|best| seconds < best.seconds) {
                    best = Some(Point { size, seconds, client_bytes });
                }
            }
            Outcome::Unsupported(said) | Outcome::Failed(said) => {
                println!("  {} fails at {size}: {said}", builder.name);
                line.failure = Some(said);
                return Ok(());
            }
        }
    }
    builder.reset(&[])?;
    if let Some(point) = best {
        println!(
            "  {:<18}{:>10}{:>12}{:>12}",
            builder.name,
            size,
            seconds(point.seconds),
            megabytes(point.client_bytes)
        );
        line.points.push(point);
    }
    Ok(())
}

impl Line {
    fn describe(&self, series: &Series) -> String {
        let slope = match self.slope {
            Some(slope) => format!("{:.1} us per {}", slope * 1e6, series.unit),
            None => "too few sizes for a slope".to_owned(),
        };
        let most = self.points.iter().map(|point| point.client_bytes).max().unwrap_or_default();
        let missed = if self.builder == CASTOFF && most > MEMORY { ", MORE THAN 150 MB" } else { "" };
        format!("  {}: {slope}, at most {} of memory{missed}", self.builder, megabytes(most))
    }
}

/// Returns how much a unit costs: the line that is nearest to all points.
fn slope(points: &[Point]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |value: fn(&Point) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (size, time) = (mean(|point| point.size as f64), mean(|point| point.seconds));
    let across: f64 = points.iter().map(|point| (point.size as f64 - size).powi(2)).sum();
    let both: f64 = points.iter().map(|point| (point.size as f64 - size) * (point.seconds - time)).sum();
    (points.len() > 1 && across > 0.0).then(|| both / across)
}

#[derive(Serialize)]
struct Results<'a> {
    machine: Machine,
    lines: &'a [Line],
}

fn publish(options: &Options, builders: &[Builder<'_>], lines: &[Line]) -> Result<()> {
    let results = Results { machine: Machine::look()?, lines };
    std::fs::write(directory().join("growth.json"), serde_json::to_vec_pretty(&results)?)?;
    let names: Vec<String> = builders.iter().map(|builder| builder.name.clone()).collect();
    let panel = |series: &Series| Panel {
        title: format!("time by {}", series.title),
        lines: lines
            .iter()
            .filter(|line| line.series == series.name)
            .map(|line| line.points.iter().map(|point| (point.size as f64, point.seconds)).collect())
            .collect(),
    };
    let panels: Vec<Panel> = SERIES.iter().map(panel).filter(|panel| !panel.lines.is_empty()).collect();
    let drawn = chart::lines(&panels, &names, &results.machine.describe());
    std::fs::write(directory().join("growth.svg"), &drawn)?;
    if options.publish {
        std::fs::write(repository().join("docs/benchmarks-growth.svg"), &drawn)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_nearest_line() {
        let point = |size, seconds| Point { size, seconds, client_bytes: 0 };
        let points = [point(10, 1.2), point(20, 2.2), point(40, 4.2)];
        assert!((slope(&points).unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(slope(&points[..1]), None);
        assert_eq!(slope(&[]), None);
    }
}

//! One row by all builders: once to see what comes out and what it takes, then interleaved by time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::builders::{Build, Builder, Output};
use super::measure::{self, Outcome};
use super::options::Options;
use super::registry::Registry;
use super::report::{Cell, RowResult};
use super::workloads::{Asked, Before, Builds, Inputs, Row};
use crate::castoff::executed;
use crate::peers::World;
use crate::peers::compare;
use crate::peers::image::{Image, Reader};

/// What the rows of a run share.
pub(super) struct Runner<'a> {
    pub(super) options: &'a Options,
    pub(super) world: &'a World,
    pub(super) registry: &'a Registry,
    pub(super) builders: &'a [Builder<'a>],
}

impl Runner<'_> {
    /// Measures a row.
    pub(super) fn row(&self, inputs: &Inputs<'_>, row: &Row) -> Result<RowResult> {
        println!("\n{} {}", row.name, row.title);
        let builders: Vec<&Builder<'_>> =
            self.builders.iter().filter(|builder| row.rootless || !builder.is_rootless()).collect();
        let mut cells: Vec<Cell> = Vec::new();
        let mut ours: Option<Image> = None;
        for builder in &builders {
            let mut cell = Cell::new(&builder.name);
            self.first(inputs, row, builder, &mut cell, &mut ours)
                .with_context(|| format!("{} by {}", row.name, builder.name))?;
            if let Some(reason) = &cell.reason {
                println!("  {}: {reason}", builder.name);
            }
            for difference in &cell.differences {
                println!("  {}: DIFFERENT: {difference}", builder.name);
            }
            cells.push(cell);
        }
        drop(ours);
        let mut result = RowResult::new(row, cells);
        for round in 1..=self.options.repeat {
            if let Some(path) = &row.edit {
                edit(path, round)?;
            }
            // Whoever is first in one round is last in the next.
            for turn in 0..builders.len() {
                let number = (turn + round) % builders.len();
                let (builder, cell) = (builders[number], &mut result.cells[number]);
                if cell.reason.is_none() {
                    let nonce = format!("{}-{}-{round}", row.name, builder.name);
                    self.timed(inputs, row, builder, &nonce, cell)
                        .with_context(|| format!("{} by {}", row.name, builder.name))?;
                }
            }
            for (limit, seconds) in
                [(Some(&row.limit), &mut result.limit), (row.beyond.as_ref(), &mut result.beyond)]
            {
                let Some(limit) = limit else { continue };
                match limit.measure(&self.world.directory.join("limit"), &self.log("limit"))? {
                    Outcome::Done(time) => seconds.push(time),
                    Outcome::Unsupported(said) | Outcome::Failed(said) => {
                        anyhow::bail!("the limit of {} fails: {said}", row.name)
                    }
                }
            }
        }
        result.judge();
        Ok(result)
    }

    /// Builds once without taking the time: what comes out, and what memory and disk it takes.
    fn first(
        &self,
        inputs: &Inputs<'_>,
        row: &Row,
        builder: &Builder<'_>,
        cell: &mut Cell,
        ours: &mut Option<Image>,
    ) -> Result<()> {
        if !builder.is_known() && row.asked != Asked::Nothing {
            cell.reason = Some("not measured: nobody said how it does more than build".to_owned());
            return Ok(());
        }
        if !builder.can_reset() && row.before == Before::Empty {
            cell.reason = Some("not measured: nobody said how to empty its store (--reset)".to_owned());
            return Ok(());
        }
        if builder.can_reset() {
            builder.reset(&row.kept)?;
        }
        if row.asked == Asked::Cache {
            let mut build = self.build(inputs, row, builder, "first", 0)?;
            build.output = Output::PushCache(self.cache(builder));
            let commands = builder.commands(&build)?;
            if !cell.accept(measure::time(commands, &self.log(&builder.name))?) {
                return Ok(());
            }
            builder.reset(&row.kept)?;
        }
        let daemon = builder.daemon();
        let before = self.disk(builder)?;
        measure::forget_peaks(&daemon)?;
        let build = self.build(inputs, row, builder, "first", 0)?;
        let (outcome, client) = measure::peak(builder.commands(&build)?, &self.log(&builder.name))?;
        if !cell.accept(outcome) {
            return Ok(());
        }
        cell.client_bytes = Some(client);
        if !daemon.is_empty() {
            cell.daemon_bytes = Some(measure::peaks(&builder.daemon())?);
        }
        if let (Some(before), Some(after)) = (before, self.disk(builder)?) {
            cell.disk_bytes = Some(after.saturating_sub(before));
        }
        if let Output::Archive(path) = &build.output {
            cell.archive_bytes = Some(std::fs::metadata(path)?.len());
            std::fs::remove_file(path)?;
        }
        self.verify(builder, &build.tag, cell, ours)
    }

    /// Compares an image with castoff's.
    fn verify(
        &self,
        builder: &Builder<'_>,
        tag: &str,
        cell: &mut Cell,
        ours: &mut Option<Image>,
    ) -> Result<()> {
        let Some(file) = builder.save(tag)? else {
            cell.verified = Some("not compared (no --save)".to_owned());
            return Ok(());
        };
        let images =
            Reader::default().read(&file).with_context(|| format!("the image of {}", builder.name))?;
        std::fs::remove_file(&file)?;
        let image = images.into_values().next().context("there is no image in the archive")?;
        if builder.is_castoff() {
            *ours = Some(image);
            return Ok(());
        }
        let Some(ours) = ours else {
            cell.verified = Some("not compared (castoff built nothing)".to_owned());
            return Ok(());
        };
        compare::files(&ours.tree, &image.tree, self.world.started, &mut |key, ours, other| {
            // Builders touch directories that they put things into, or do not.
            if ours != other && !key.ends_with("mtime kept") {
                cell.differences.push(format!("{key}: castoff {ours}, {} {other}", builder.name));
            }
        });
        let all = cell.differences.len();
        cell.differences.truncate(5);
        cell.verified = Some(match all {
            0 => format!("the same tree of {} entries", ours.tree.paths.len()),
            all => format!("{all} differences"),
        });
        Ok(())
    }

    /// Builds and takes the time.
    fn timed(
        &self,
        inputs: &Inputs<'_>,
        row: &Row,
        builder: &Builder<'_>,
        nonce: &str,
        cell: &mut Cell,
    ) -> Result<()> {
        if row.before == Before::Empty {
            builder.reset(&row.kept)?;
        }
        let count = match row.builds {
            Builds::One => 1,
            Builds::Together(count) | Builds::InTurn(count) => count,
        };
        let mut series: Vec<Vec<Command>> = Vec::new();
        for number in 0..count {
            series.push(builder.commands(&self.build(inputs, row, builder, nonce, number)?)?);
        }
        measure::settle()?;
        let log = self.log(&builder.name);
        let outcome = match row.builds {
            Builds::Together(_) => measure::time_together(series, &log)?,
            Builds::One | Builds::InTurn(_) => measure::time(series.into_iter().flatten().collect(), &log)?,
        };
        if let Outcome::Done(seconds) = outcome {
            cell.seconds.push(seconds);
            if let (Builds::Together(count), true) = (row.builds, builder.is_castoff()) {
                cell.shared_runs.push(shared_runs(&log, count)?);
            }
        }
        cell.accept(outcome);
        if row.asked == Asked::Archive {
            std::fs::remove_file(self.archive(builder))?;
        }
        Ok(())
    }

    /// Writes a Dockerfile and says what is asked for.
    pub(super) fn build(
        &self,
        inputs: &Inputs<'_>,
        row: &Row,
        builder: &Builder<'_>,
        nonce: &str,
        number: usize,
    ) -> Result<Build> {
        let directory = self.world.directory.join("dockerfiles").join(&builder.name).join(number.to_string());
        std::fs::create_dir_all(&directory)?;
        let dockerfile = directory.join("Dockerfile");
        let text = inputs.with_bases(&row.dockerfile);
        let text = text.replace("{nonce}", nonce).replace("{number}", &number.to_string());
        std::fs::write(&dockerfile, text)?;
        let name = format!("bench-{}-{}-{number}", row.name.to_lowercase(), builder.name);
        let (tag, output) = match row.asked {
            Asked::Nothing => (name, Output::Store),
            Asked::Archive => (name, Output::Archive(self.archive(builder))),
            Asked::Push => (self.registry.reference(&name), Output::Push),
            Asked::Cache => (name, Output::FromCache(self.cache(builder))),
        };
        let secret = row.proves.then(|| directory.join("secret"));
        if let Some(secret) = &secret {
            std::fs::write(secret, "x9Kq2pLm4Zt7Wv1RbN8sQ3YdHg5Fj\n")?;
        }
        Ok(Build { dockerfile, context: row.context.clone(), tag, output, secret })
    }

    fn archive(&self, builder: &Builder<'_>) -> PathBuf {
        self.world.directory.join(format!("{}.archive", builder.name))
    }

    fn cache(&self, builder: &Builder<'_>) -> String {
        self.registry.reference(&format!("cache-{}", builder.name))
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.world.directory.join(format!("{name}.log"))
    }

    fn disk(&self, builder: &Builder<'_>) -> Result<Option<u64>> {
        builder.store().map(|store| measure::disk(&store)).transpose()
    }
}

/// Makes a file another one of about the same size.
fn edit(path: &Path, round: usize) -> Result<()> {
    let mut text = std::fs::read(path).with_context(|| format!("cannot edit `{}`", path.display()))?;
    text.extend_from_slice(format!("// edit {round}\n").as_bytes());
    std::fs::write(path, text)?;
    Ok(())
}

/// Returns in how many of castoff's builds at once the step ran that they share, by their logs.
fn shared_runs(log: &Path, count: usize) -> Result<usize> {
    let mut runs = 0;
    for number in 0..count {
        let progress = std::fs::read_to_string(log.with_extension(format!("{number}.log")))?;
        runs += executed(&progress).iter().filter(|step| step.contains("/shared")).count();
    }
    Ok(runs)
}

/// Results by the name of their row.
pub(super) fn judge_across(results: &mut [RowResult]) {
    let own: BTreeMap<String, f64> =
        results.iter().filter_map(|result| Some((result.name.clone(), result.ours()?))).collect();
    for result in results {
        result.judge_by(&own);
    }
}

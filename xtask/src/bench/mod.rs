//! The benchmark: castoff and other builders side by side, beside the bare work.
//!
//! `docs/benchmarks.md` says what is measured and how. Everything happens in namespaces and a directory
//! of its own, as in the differential test, and nothing of it is left but the results.

mod builders;
mod chart;
mod generate;
mod growth;
mod instructions;
mod limits;
mod measure;
mod options;
mod registry;
mod report;
mod run;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::command::{output_directory, repository};
use crate::peers::{self, Docker, World};
use builders::{BUILDKIT, Builder};
use options::{Options, What};
use registry::Registry;
use report::RowResult;
use run::Runner;
use workloads::{Inputs, WORKLOADS};

const COMMAND: &str = "bench";

/// Runs the part that the command line names.
pub fn main(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    match options.what {
        What::Instructions => instructions::main(&options),
        What::Table | What::Growth if !peers::world::is_entered() => peers::world::enter(COMMAND, arguments),
        What::Table => table(&options),
        What::Growth => growth::main(&options),
    }
}

/// All that is known after a run.
#[derive(Serialize)]
struct Results<'a> {
    machine: Machine,
    scale: f64,
    repeat: usize,
    builders: Vec<(String, String)>,
    rows: &'a [RowResult],
}

fn table(options: &Options) -> Result<()> {
    let wanted: Vec<_> =
        WORKLOADS.iter().filter(|workload| workload.rows.iter().any(|row| options.wants(row))).collect();
    ensure!(!wanted.is_empty(), "there is no workload of these names");
    let world = World::prepare(COMMAND, &options.suite)?;
    let registry = Registry::start(&world.directory)?;
    let inputs = Inputs::prepare(options, &registry, &world.directory)?;
    let engine = options.has("docker-classic") || options.has(BUILDKIT);
    let docker = if engine { Some(Docker::start(&world)?) } else { None };
    let builders = builders::all(options, &world, docker.as_ref(), &registry)?;
    for builder in &builders {
        println!("{} {}", builder.name, builder.version);
    }
    let machine = Machine::look()?;
    println!("{}", machine.describe());

    let runner = Runner { options, world: &world, registry: &registry, builders: &builders };
    let mut results = Vec::new();
    for workload in wanted {
        let rows = (workload.make)(&inputs).with_context(|| format!("inputs of {}", workload.name))?;
        for row in rows.iter().filter(|row| options.wants(row.name)) {
            results.push(runner.row(&inputs, row)?);
            // What is known already is of use when a later row fails.
            publish(options, &builders, &results)?;
        }
        inputs.clear()?;
    }
    run::judge_across(&mut results);
    println!();
    for result in &results {
        println!("{}", result.print());
    }
    publish(options, &builders, &results)?;
    println!("{}", Machine::look()?.describe());
    let cells = || results.iter().flat_map(|result| &result.cells);
    let different = cells().filter(|cell| !cell.differences.is_empty()).count();
    let failed = cells().filter(|cell| cell.failed()).count();
    ensure!(different == 0 && failed == 0, "{different} images differ, {failed} builds failed");
    Ok(())
}

/// Writes the results and their chart below `target`.
fn publish(options: &Options, builders: &[Builder<'_>], rows: &[RowResult]) -> Result<()> {
    let directory = directory();
    std::fs::create_dir_all(&directory)?;
    let names = builders.iter().map(|builder| (builder.name.clone(), builder.version.clone())).collect();
    let results = Results {
        machine: Machine::look()?,
        scale: options.scale,
        repeat: options.repeat,
        builders: names,
        rows,
    };
    std::fs::write(directory.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    let names: Vec<String> = builders.iter().map(|builder| builder.name.clone()).collect();
    let drawn = chart::bars(rows, &names, &results.machine.describe());
    std::fs::write(directory.join("chart.svg"), &drawn)?;
    if options.publish {
        std::fs::write(repository().join("docs/benchmarks.svg"), &drawn)?;
        let heads: Vec<String> = names.iter().map(|name| format!(" {name} |")).collect();
        let mut text = format!("| | work |{} limit | targets |\n", heads.concat());
        text.push_str(&format!("|---|---|{}---|---|\n", "---:|".repeat(names.len())));
        for row in rows {
            text.push_str(&row.markdown(&names));
            text.push('\n');
        }
        text.push_str(&format!("\n{}\n", results.machine.describe()));
        for (name, version) in &results.builders {
            text.push_str(&format!("{name} {version}. "));
        }
        replace_table(text.trim_end())?;
    }
    Ok(())
}

/// Puts a table between the marks of the document.
fn replace_table(table: &str) -> Result<()> {
    const START: &str = "<!-- results -->\n";
    const END: &str = "<!-- end of results -->";
    let path = repository().join("docs/benchmarks.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) = text.split_once(START).context("docs/benchmarks.md has no mark for results")?;
    let (_, after) = rest.split_once(END).context("docs/benchmarks.md has no end of results")?;
    std::fs::write(&path, format!("{before}{START}{table}\n{END}{after}"))?;
    Ok(())
}

/// Returns the directory of the results.
fn directory() -> PathBuf {
    output_directory().with_file_name(COMMAND)
}

/// Where it was measured.
#[derive(Serialize)]
struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    load: String,
}

impl Machine {
    fn look() -> Result<Machine> {
        let read =
            |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"));
        let information = read("/proc/cpuinfo")?;
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Machine {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: model.map_or("unknown processor", |(_, model)| model).to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            load: read("/proc/loadavg")?.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
        })
    }

    fn describe(&self) -> String {
        format!(
            "{} processors ({}), Linux {}, load {}",
            self.processors, self.processor, self.kernel, self.load
        )
    }
}

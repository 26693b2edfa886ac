//! Workloads about steps and their order: W3, W4, W10, W12.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Before, Builds, Inputs, Row, Target};
use crate::bench::limits::Limit;

/// W3: many steps that do nothing.
pub(super) fn in_a_row(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(50, 5);
    let mut dockerfile = "FROM {base:base}\n".to_owned();
    for step in 1..=count {
        writeln!(dockerfile, "RUN true {{nonce}} {step}")?;
    }
    let title = format!("{count} trivial RUN steps, cold");
    let mut row = Row::new("W3", title, dockerfile, &inputs.empty_context()?, inputs.step.steps(count));
    row.before = Before::OtherNonces;
    row.rootless = true;
    row.targets = vec![Target::OfBuildKit(1.0 / 6.0), Target::OfLimit(1.5)];
    Ok(vec![row])
}

/// W4: stages that wait.
pub(super) fn parallel(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let mut dockerfile = String::new();
    for stage in ["a", "b", "c", "d"] {
        writeln!(dockerfile, "FROM {{base:base}} AS {stage}\nRUN sleep 2 && echo {{nonce}} > /{stage}")?;
    }
    dockerfile.push_str("FROM {base:base}\n");
    for stage in ["a", "b", "c", "d"] {
        writeln!(dockerfile, "COPY --from={stage} /{stage} /")?;
    }
    let title = "four stages of sleep 2, one final".to_owned();
    let mut row = Row::new("W4", title, dockerfile, &inputs.empty_context()?, Limit::sleep(2));
    row.before = Before::OtherNonces;
    row.targets = vec![Target::Seconds(2.1)];
    Ok(vec![row])
}

/// W10: many stages, each made of two of the level before.
pub(super) fn graph(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    const WIDTH: u64 = 10;
    let depth = inputs.options.scaled(30, 3);
    let mut dockerfile = String::new();
    for level in 0..depth {
        for place in 0..WIDTH {
            writeln!(dockerfile, "FROM {{base:base}} AS s{level}-{place}")?;
            if level == 0 {
                writeln!(dockerfile, "RUN echo {{nonce}} {place} > /out")?;
                continue;
            }
            for (name, from) in [("one", place), ("two", (place + level) % WIDTH)] {
                writeln!(dockerfile, "COPY --from=s{}-{from} /out /{name}", level - 1)?;
            }
            writeln!(dockerfile, "RUN cat /one /two | wc -c > /out")?;
        }
    }
    dockerfile.push_str("FROM {base:base}\n");
    for place in 0..WIDTH {
        writeln!(dockerfile, "COPY --from=s{}-{place} /out /out{place}", depth - 1)?;
    }
    let stages = WIDTH * depth;
    let title = format!("a graph of {stages} stages, {WIDTH} wide, trivial work");
    let mut row = Row::new("W10", title, dockerfile, &inputs.empty_context()?, inputs.step.steps(stages));
    row.before = Before::OtherNonces;
    row.targets = vec![Target::OfBuildKit(0.2)];
    Ok(vec![row])
}

/// W12: builds at once on one store, and what they would be one after another.
pub(super) fn many(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    const BUILDS: usize = 8;
    // The first step is of all of them; `seq` keeps a processor busy.
    let work = inputs.options.scaled(400_000, 20_000);
    let first =
        format!("FROM {{base:base}}\nRUN echo {{nonce}} > /shared && seq {work} | wc -c >> /shared\n");
    let same = format!("{first}RUN seq {work} | wc -c > /own\n");
    let different = format!("{first}RUN seq {{number}} {work} | wc -c > /own\n");
    let context = inputs.empty_context()?;
    let row = |name, title: &str, dockerfile: &str, builds| {
        // What no builder can do without: the steps of one build, each once.
        let limit = Limit {
            name: "the work of one build".to_owned(),
            script: format!("for i in 1 2; do busybox seq {work} | busybox wc -c; done"),
        };
        let mut row = Row::new(name, title.to_owned(), dockerfile.to_owned(), &context, limit);
        row.before = Before::OtherNonces;
        row.builds = builds;
        row
    };
    let one = row("W12-one", "one build of two steps that compute", &same, Builds::One);
    let mut together =
        row("W12-same", "8 equal builds at once on one store", &same, Builds::Together(BUILDS));
    together.targets = vec![Target::OfRow("W12-one", 1.5)];
    let turns = row(
        "W12-turns",
        "8 builds that share their first step, one after another",
        &different,
        Builds::InTurn(BUILDS),
    );
    let mut many = row("W12-many", "the same 8 builds at once", &different, Builds::Together(BUILDS));
    many.targets = vec![Target::OfRow("W12-turns", 1.0)];
    Ok(vec![one, together, turns, many])
}

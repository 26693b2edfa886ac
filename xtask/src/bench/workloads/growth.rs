//! Work that comes in sizes, to see how time grows.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Inputs, Row};
use crate::bench::limits::Limit;
use crate::chance::Chance;

/// One kind of size.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// What is counted, in words for a chart.
    pub(crate) title: &'static str,
    /// One of what is counted.
    pub(crate) unit: &'static str,
    /// Sizes, of which those are taken that are not above the largest asked for.
    sizes: &'static [u64],
    /// How the largest size follows from the largest number of files, of which a million is all.
    most: fn(f64) -> f64,
    pub(crate) make: fn(&Inputs<'_>, u64) -> Result<Row>,
}

/// What is measured.
pub(crate) const SERIES: &[Series] = &[
    Series {
        name: "files",
        title: "files of a COPY",
        unit: "file",
        sizes: &[1_000, 3_000, 10_000, 30_000, 100_000, 200_000, 500_000, 1_000_000],
        most: |files| files,
        make: files,
    },
    Series {
        name: "steps",
        title: "steps",
        unit: "step",
        sizes: &[10, 30, 100, 300, 600, 1_000, 2_000],
        // A tenth of the files asks for all of them.
        most: |files| files / 50.0,
        make: steps,
    },
    Series {
        name: "layers",
        title: "layers of a base that is pulled",
        unit: "layer",
        sizes: &[1, 4, 15, 30, 60, 120],
        most: |files| files / 500.0,
        make: layers,
    },
    Series {
        name: "bytes",
        title: "MB of one file of a COPY",
        unit: "MB",
        sizes: &[1, 8, 64, 256, 1_024, 2_048, 4_096, 8_192],
        most: |files| files / 100.0,
        make: bytes,
    },
];

impl Series {
    /// Returns the sizes up to where so many files lead.
    pub(crate) fn sizes(&self, files: f64) -> impl Iterator<Item = u64> {
        let most = (self.most)(files);
        self.sizes.iter().copied().filter(move |size| *size as f64 <= most)
    }
}

/// A context of so many files.
fn files(inputs: &Inputs<'_>, count: u64) -> Result<Row> {
    inputs.files("context", count, count * 1_000, 30, &["js", "ts"])?;
    Ok(row("files", "FROM {base:base}\nCOPY . /app/\n".to_owned(), &inputs.directory.join("context")))
}

/// So many steps, in stages of 50 that follow each other, because some builders have no more layers than
/// 127 in one image.
fn steps(inputs: &Inputs<'_>, count: u64) -> Result<Row> {
    const STAGE: u64 = 50;
    let mut dockerfile = String::new();
    for step in 0..count {
        if step % STAGE == 0 {
            let stage = step / STAGE;
            writeln!(dockerfile, "FROM {{base:base}} AS s{stage}")?;
            if stage > 0 {
                writeln!(dockerfile, "COPY --from=s{} /out /in", stage - 1)?;
            }
        }
        writeln!(dockerfile, "RUN echo {{nonce}} {step} > /out")?;
    }
    Ok(row("steps", dockerfile, &inputs.empty_context()?))
}

/// A base of so many layers that is not there, and a step on it.
fn layers(inputs: &Inputs<'_>, count: u64) -> Result<Row> {
    let mut roots = Vec::new();
    for layer in 1..count {
        inputs.files(&format!("layer{layer}/opt/l{layer}"), 20, 20 * 10_000, 40 + layer, &["so"])?;
        roots.push(inputs.directory.join(format!("layer{layer}")));
    }
    // Names live as long as the program, and there are six.
    let name: &'static str = Box::leak(format!("layers-{count}").into_boxed_str());
    inputs.base(name, roots)?;
    let mut row = row("layers", format!("FROM {{base:{name}}}\nRUN true\n"), &inputs.empty_context()?);
    row.kept = Vec::new();
    Ok(row)
}

/// One file of so many megabytes.
fn bytes(inputs: &Inputs<'_>, megabytes: u64) -> Result<Row> {
    let context = inputs.directory.join("context");
    fs::create_dir_all(&context)?;
    inputs.pool.write(&context.join("big"), megabytes * 1_000_000, &mut Chance(50))?;
    Ok(row("bytes", "FROM {base:base}\nCOPY . /app/\n".to_owned(), &context))
}

fn row(name: &'static str, dockerfile: String, context: &Path) -> Row {
    Row::new(name, String::new(), dockerfile, context, Limit::walk(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_files_ask_for_everything_and_few_for_little() {
        for series in SERIES {
            assert_eq!(series.sizes(1e6).count(), series.sizes.len(), "{}", series.name);
            assert!(series.sizes(1e4).count() >= 2, "{}", series.name);
        }
        assert_eq!(SERIES[0].sizes(1e4).last(), Some(10_000));
    }
}

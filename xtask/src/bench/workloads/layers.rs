//! Workloads about layers that come and go: W6, W7, W8, W11.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::{Asked, Before, Inputs, Row, Target};
use crate::bench::generate::text;
use crate::bench::limits::Limit;
use crate::chance::Chance;

/// How many copies of its seed are the big file of W6.
const COPIES: u64 = 16;

/// W6: a step writes a big file, which goes to the store, to an archive, to a registry.
pub(super) fn export(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let size = inputs.options.scaled(1 << 30, 16 << 20) / COPIES;
    let root = inputs.directory.join("data");
    fs::create_dir_all(root.join("data"))?;
    let seed = root.join("data/seed");
    inputs.pool.write(&seed, size, &mut Chance(9))?;
    // Copies of the seed compress as the seed does: gzip looks back 32 KiB.
    let layers = inputs.base("data", vec![root])?;
    let sizes = layers.iter().map(|layer| Ok(fs::metadata(layer)?.len())).collect::<Result<Vec<u64>>>()?;
    let gzip_bytes = sizes.iter().sum::<u64>() + COPIES * sizes.last().copied().unwrap_or_default();
    let dockerfile = format!(
        "FROM {{base:data}}\nRUN echo {{nonce}} > /big && \
for i in $(seq {COPIES}); do cat /data/seed >> /big; done\n"
    );
    let megabytes = (size * COPIES) >> 20;
    let row = |name, to: &str, asked, limit| -> Result<Row> {
        let title = format!("RUN writes {megabytes} MiB; {to}");
        let mut row = Row::new(name, title, dockerfile.clone(), &inputs.empty_context()?, limit);
        row.kept = vec!["data"];
        row.before = Before::OtherNonces;
        row.asked = asked;
        row.beyond = Some(Limit::write(&seed, COPIES));
        row.gzip_bytes = Some(gzip_bytes);
        row.targets = vec![Target::OfBuildKit(0.5)];
        Ok(row)
    };
    let mut proof = row(
        "W6-proof",
        "and to an archive, proved",
        Asked::Archive,
        Limit::write_and_compress(&seed, COPIES),
    )?;
    proof.proves = true;
    proof.targets = vec![Target::OfRow("W6-archive", 1.05)];
    Ok(vec![
        row("W6-store", "to the store", Asked::Nothing, Limit::write_and_hash(&seed, COPIES))?,
        row("W6-archive", "and to an archive", Asked::Archive, Limit::write_and_compress(&seed, COPIES))?,
        proof,
        row("W6-push", "and to a registry", Asked::Push, Limit::write_and_compress(&seed, COPIES))?,
    ])
}

/// W7: a tree of another stage.
pub(super) fn copy_from(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(30_000, 300);
    let made = inputs.files("tree/tree", count, count * 4_000, 10, &["py", "so", "txt"])?;
    let root = inputs.directory.join("tree");
    let list = inputs.list("copied", made.into_iter().map(|path| PathBuf::from("tree").join(path)))?;
    let limit = Limit::tar_and_hash(&root, &list);
    inputs.base("tree", vec![root])?;
    // The tree is the work of a step, which is cached; the nonce stands before the COPY.
    let dockerfile = "\
FROM {base:tree} AS made
RUN cp -a /tree /made
FROM {base:base}
RUN echo {nonce} > /nonce
COPY --from=made /made /made
";
    let title = format!("COPY --from of a tree of {count} files");
    let mut row = Row::new("W7", title, dockerfile.to_owned(), &inputs.empty_context()?, limit);
    row.kept = vec!["base", "tree"];
    row.before = Before::OtherNonces;
    row.targets = vec![Target::OfBuildKit(1.0 / 6.0)];
    Ok(vec![row])
}

/// W8: a base that is not there, and a step on it.
pub(super) fn pull(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, base, count, mean, layers) in [
        ("W8-small", "small", inputs.options.scaled(500, 50), 60_000, 1),
        ("W8-large", "large", inputs.options.scaled(25_000, 250), 24_000, 5),
    ] {
        let mut roots = Vec::new();
        for layer in 0..layers {
            let below = format!("{base}{layer}/usr/lib{layer}");
            let files = count / layers;
            inputs.files(&below, files, files * mean, 11 + layer, &["so", "py", "h"])?;
            roots.push(inputs.directory.join(format!("{base}{layer}")));
        }
        let packed = inputs.base(base, roots)?;
        let megabytes = count * mean / 1_000_000;
        let title = format!(
            "pull of a base of {count} files and {megabytes} MB in {} layers, and RUN true",
            layers + 1
        );
        let dockerfile = format!("FROM {{base:{base}}}\nRUN true\n");
        let limit = Limit::extraction(&packed);
        let mut row = Row::new(name, title, dockerfile, &inputs.empty_context()?, limit);
        row.kept = Vec::new();
        row.rootless = true;
        row.targets = vec![Target::OfBuildKit(1.0 / 3.0), Target::RootlessOfLimit(1.2)];
        rows.push(row);
    }
    Ok(rows)
}

/// W11: a new machine with a registry for its memory.
pub(super) fn ci(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(1_000, 50);
    let made = inputs.files("context/src", count, count * 5_000, 20, &["js", "ts"])?;
    let context = inputs.directory.join("context");
    text(&context.join("package.json"), "{\"name\": \"bench\"}\n")?;
    let dockerfile = "\
FROM {base:base}
COPY package.json /app/
RUN sleep 5 && cat /app/package.json > /installed
COPY src /app/src
RUN find /app/src -type f | sort | while read f; do cat \"$f\"; done > /bundle
";
    let limit = Limit::walk(&context).then(&inputs.step.steps(1));
    let title =
        "an empty store, all cached in a registry (an install of 5 s too), one source edited".to_owned();
    let mut row = Row::new("W11", title, dockerfile.to_owned(), &context, limit);
    row.kept = Vec::new();
    row.asked = Asked::Cache;
    row.edit = made.first().map(|path| context.join("src").join(path));
    row.before = Before::Empty;
    row.targets = vec![Target::OfBuildKit(0.25)];
    Ok(vec![row])
}

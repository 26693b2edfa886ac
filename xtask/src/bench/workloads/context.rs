//! Workloads about the files of a context: W1, W2, W5, W9.

use std::path::PathBuf;

use anyhow::Result;

use super::{Before, Inputs, Row, Target};
use crate::bench::generate::text;
use crate::bench::limits::Limit;

/// W1: nothing changed.
pub(super) fn no_op(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(20_000, 200);
    inputs.files("context/src", count, count * 5_000, 1, &["js", "ts", "css", "json"])?;
    let context = inputs.directory.join("context");
    text(&context.join("package.json"), "{\"name\": \"bench\"}\n")?;
    let dockerfile = "\
FROM {base:base} AS deps
COPY package.json /app/
RUN cat /app/package.json > /installed
FROM deps AS build
COPY . /app/
RUN find /app -type f | wc -l > /built
FROM deps AS lint
COPY src/d0 /app/d0
RUN find /app -type f | wc -l > /linted
FROM {base:base} AS assets
COPY --from=build /app/src/d0 /assets
FROM {base:base} AS config
RUN echo config > /config
FROM {base:base}
COPY --from=build /built /
COPY --from=lint /linted /
COPY --from=config /config /
COPY --from=assets /assets /assets
CMD [\"/bin/sh\"]
";
    let mut row = Row::new(
        "W1",
        format!("no-op: a cached build of six stages, {count} files in the context"),
        dockerfile.to_owned(),
        &context,
        Limit::walk(&context),
    );
    row.before = Before::Same;
    row.targets = vec![Target::OfBuildKit(0.1), Target::OfLimit(1.5)];
    Ok(vec![row])
}

/// W2: a big context, half of it ignored: a quarter as one directory, a quarter by the files' endings.
pub(super) fn copy(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(50_000, 400);
    let mean = 10_000;
    let sources = count * 3 / 4;
    let made = inputs.files("context/src", sources, sources * mean, 2, &["js", "log", "ts"])?;
    let ignored = count - sources;
    inputs.files("context/coverage", ignored, ignored * mean, 3, &["html"])?;
    let context = inputs.directory.join("context");
    text(&context.join(".dockerignore"), "# Half of all files.\ncoverage\n**/*.log\n.dockerignore\n")?;
    let kept = made.iter().filter(|path| path.extension().is_none_or(|ending| ending != "log"));
    let list = inputs.list("kept", kept.map(|path| PathBuf::from("src").join(path)))?;

    let megabytes = count * mean / 1_000_000;
    let copy = "FROM {base:base}\nCOPY . /app/\n";
    let with_run = format!("{copy}RUN true\n");
    let hash = Limit::tar_and_hash(&context, &list);
    let mut cold = Row::new(
        "W2",
        format!("COPY of a context of {count} files and {megabytes} MB, half ignored, cold"),
        copy.to_owned(),
        &context,
        hash,
    );
    cold.targets = vec![Target::OfBuildKit(0.1), Target::OfLimit(2.0)];
    let mut run = Row::new(
        "W2r",
        "the same and RUN true, cold".to_owned(),
        with_run.clone(),
        &context,
        Limit::copy(&context, &list),
    );
    run.rootless = true;
    run.targets = vec![Target::OfBuildKit(0.5)];
    let mut edited = Row::new(
        "W2r-edit",
        "the same after one file was edited".to_owned(),
        with_run,
        &context,
        Limit::walk(&context).then(&inputs.step.steps(1)),
    );
    edited.before = Before::Same;
    edited.edit = made.first().map(|path| context.join("src").join(path));
    edited.targets = vec![Target::OfBuildKit(0.05)];
    Ok(vec![cold, run, edited])
}

/// W5: a source is edited in a project that is laid out as Node's are.
pub(super) fn edit(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let sources = inputs.options.scaled(500, 20);
    let modules = inputs.options.scaled(5_000, 50);
    let made = inputs.files("context/src", sources, sources * 4_000, 4, &["ts", "tsx", "css"])?;
    inputs.files("context/public", sources / 5, sources * 4_000, 5, &["png", "svg"])?;
    inputs.files("context/node_modules", modules, modules * 4_000, 6, &["js"])?;
    let context = inputs.directory.join("context");
    text(&context.join(".dockerignore"), "node_modules\ndist\n")?;
    text(&context.join("package.json"), "{\"name\": \"bench\", \"scripts\": {\"build\": \"cat\"}}\n")?;
    text(&context.join("package-lock.json"), "{\"lockfileVersion\": 3}\n")?;
    let directories = modules.div_ceil(50);
    let dockerfile = format!(
        "\
FROM {{base:base}} AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN for d in $(seq {directories}); do mkdir -p node_modules/m$d; \
for f in $(seq 50); do echo module $d $f > node_modules/m$d/f$f.js; done; done
FROM deps AS build
COPY . .
RUN mkdir -p dist && find src -type f | sort | while read f; do cat \"$f\"; done > dist/bundle.js
FROM {{base:base}}
WORKDIR /app
COPY --from=deps /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/public ./public
CMD [\"cat\", \"dist/bundle.js\"]
"
    );
    let list = inputs.list("sources", made.iter().map(|path| PathBuf::from("src").join(path)))?;
    let limit = Limit::walk(&context).then(&Limit::tar_and_hash(&context, &list)).then(&inputs.step.steps(1));
    let title = format!("one source edited: {sources} sources, {modules} modules, install cached");
    let mut row = Row::new("W5", title, dockerfile, &context, limit);
    row.before = Before::Same;
    row.edit = made.first().map(|path| context.join("src").join(path));
    row.targets = vec![Target::OfBuildKit(1.0 / 6.0)];
    Ok(vec![row])
}

/// W9: everything is copied before the install, so that an edit that does not matter repeats it.
pub(super) fn order(inputs: &Inputs<'_>) -> Result<Vec<Row>> {
    let count = inputs.options.scaled(1_000, 20);
    inputs.files("context/src", count, count * 5_000, 8, &["js", "ts"])?;
    let context = inputs.directory.join("context");
    text(&context.join("README"), "read me\n")?;
    let dockerfile = "FROM {base:base}\nCOPY . /app/\nRUN sleep 3 && echo done > /installed\n";
    let mut row = Row::new(
        "W9",
        "COPY . . before an install of 3 s, README edited".to_owned(),
        dockerfile.to_owned(),
        &context,
        Limit::walk(&context).then(&Limit::sleep(3)),
    );
    row.before = Before::Same;
    row.edit = Some(context.join("README"));
    Ok(vec![row])
}

//! Fixed work with a Dockerfile, for counting instructions: `cargo xtask bench instructions` runs this below
//! callgrind, which counts what happens in `measured` alone. Takes the name of one operation; prints all
//! of them when there is none.

use std::hint::black_box;

use castoff_dockerfile::lint::{LintOptions, lint};
use castoff_graph::pattern::IgnorePatterns;
use castoff_oci::{DiffId, Digest, ImageConfig};
use castoff_plan::{PlanOptions, Planner, ResolvedImage, Step};

const DOCKERFILE: &str = r#"# syntax=docker/dockerfile:1
ARG NODE=22
FROM node:${NODE}-slim AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci

FROM deps AS build
ARG VERSION=dev
ENV NODE_ENV=production CI=1
COPY . .
RUN npm run build -- --version "${VERSION}" \
    && npm prune --omit=dev

FROM node:${NODE}-slim
LABEL org.opencontainers.image.title="app" version="${VERSION:-none}"
COPY --from=deps --chown=1000:1000 /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY <<EOF /etc/app.conf
listen = 8080
EOF
USER 1000:1000
EXPOSE 8080/tcp
HEALTHCHECK --interval=30s CMD ["node", "/app/dist/health.js"]
ENTRYPOINT ["node", "/app/dist/main.js"]
"#;

const IGNORED: &str = ".git\nnode_modules\n**/*.log\n**/.DS_Store\ntarget/\ndist\n*.md\n!README.md\n.env*\n";

#[expect(clippy::disallowed_methods, reason = "a program of its own is told what to do")]
fn main() {
    let name = std::env::args().nth(1);
    let parsed = castoff_dockerfile::parse(DOCKERFILE.as_bytes());
    let patterns = IgnorePatterns::parse(IGNORED).expect("the patterns are sound");
    let paths: Vec<String> =
        (0..500).map(|number| format!("src/d{}/file-{number}.ts", number / 50)).collect();
    let operations: [(&str, &mut dyn FnMut()); 4] = [
        ("dockerfile-parse", &mut || drop(black_box(castoff_dockerfile::parse(DOCKERFILE.as_bytes())))),
        ("dockerfile-lint", &mut || {
            drop(black_box(lint(&parsed.dockerfile, DOCKERFILE, &LintOptions::default())))
        }),
        ("dockerfile-plan", &mut || plan(&parsed)),
        ("ignore-match", &mut || {
            black_box(paths.iter().filter(|path| patterns.matches(path.as_bytes())).count());
        }),
    ];
    for (operation, body) in operations {
        match &name {
            Some(name) if name == operation => return measured(body),
            Some(_) => {}
            None => print(operation),
        }
    }
}

/// Lowers the Dockerfile with every image known.
fn plan(parsed: &castoff_dockerfile::Parsed) {
    let platform = "linux/amd64".parse().expect("a platform");
    let mut planner = Planner::new(&parsed.dockerfile, PlanOptions::new(platform));
    loop {
        match planner.step() {
            Step::Resolve(questions) => {
                for question in questions {
                    let mut config = ImageConfig::default();
                    config.config.env = Some(vec!["PATH=/bin".to_owned()]);
                    config.rootfs.diff_ids.push(DiffId(Digest::of(b"layer")));
                    let image = ResolvedImage {
                        reference: question.reference.clone(),
                        manifest: Digest::of(b"manifest"),
                        platform: question.platform.clone(),
                        runs_here: true,
                        config,
                    };
                    planner.provide(&question, image);
                }
            }
            Step::Date(_) => planner.provide_date(None),
            Step::Done(plan) => return drop(black_box(plan)),
            Step::Failed(diagnostics) => panic!("{diagnostics:?}"),
        }
    }
}

/// What is counted.
#[inline(never)]
fn measured(body: &mut dyn FnMut()) {
    body();
}

#[expect(clippy::print_stdout, reason = "the list of operations is what is asked for")]
fn print(operation: &str) {
    println!("{operation}");
}

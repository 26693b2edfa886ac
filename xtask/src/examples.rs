//! The table of examples: what each needs, how to ask it, and what must and must not ship.

use anyhow::{Result, bail};

/// One application under `examples/`.
pub struct Example {
    pub name: &'static str,
    /// Base images it stands on, by their real names.
    pub bases: &'static [&'static str],
    /// Whether the fat stage is this machine itself, as the named context `toolchain`.
    pub on_machine: bool,
    /// The stage that a single-stage Dockerfile would have shipped.
    pub builder: &'static str,
    pub ask: Ask,
    /// Paths that must not be in the image, as a whole or as a directory's beginning.
    pub absent: &'static [&'static str],
    /// Paths that must be in the image.
    pub present: &'static [&'static str],
    /// The user id its processes must have, where the image has an `id` to ask.
    pub user: Option<&'static str>,
    /// Whether its own programs write the same bytes each time, so that its images must be equal.
    pub reproducible: bool,
}

/// How to see that an image works.
pub enum Ask {
    /// Start it with `PORT` set, and expect the text in the answer to `GET path`.
    Http { path: &'static str, expect: &'static str },
    /// Run it to its end with the arguments, and expect the text on standard output.
    Run { arguments: &'static [&'static str], expect: &'static str },
}

/// Every example, small ones first.
pub const EXAMPLES: &[Example] = &[
    Example {
        name: "hello",
        bases: &[],
        on_machine: true,
        builder: "builder",
        ask: Ask::Run { arguments: &[], expect: "hello from an image" },
        absent: &["src", "out", "usr/bin", "root", "etc"],
        present: &["hello"],
        user: None,
        reproducible: true,
    },
    Example {
        name: "go-server",
        bases: &["golang:1.19-bookworm"],
        on_machine: false,
        builder: "builder",
        ask: Ask::Http { path: "/hello?name=Ada", expect: "Hello, Ada!" },
        absent: &["usr", "bin", "go", "src", "root", "etc/passwd"],
        present: &["greet", "etc/ssl/certs/ca-certificates.crt"],
        user: None,
        reproducible: true,
    },
    Example {
        name: "python-wheels",
        bases: &["python:3.11-bookworm", "python:3.11-slim-bookworm"],
        on_machine: false,
        builder: "wheels",
        ask: Ask::Http { path: "/score?text=abracadabra", expect: "\"entropy\": 2.04" },
        absent: &["usr/bin/gcc", "usr/include/python3.11/Python.h", "wheels", "build", "root/.cache/pip"],
        present: &["srv/app/app/__main__.py"],
        user: Some("10001"),
        reproducible: true,
    },
    Example {
        name: "node-api",
        bases: &["node:20-bookworm", "node:20-bookworm-slim"],
        on_machine: false,
        builder: "builder",
        ask: Ask::Http { path: "/health", expect: "ok" },
        absent: &[
            "app/node_modules/typescript",
            "app/src",
            "app/test",
            "app/tsconfig.json",
            "usr/bin/gcc",
            "root/.npm",
        ],
        present: &["app/dist/server.js", "app/node_modules/express/package.json"],
        user: Some("1000"),
        reproducible: true,
    },
    Example {
        name: "react-nginx",
        bases: &["node:20-bookworm", "nginx:1.22"],
        on_machine: false,
        builder: "builder",
        ask: Ask::Http { path: "/any/route", expect: "<title>Tea timer</title>" },
        absent: &["app", "usr/local/bin/node", "usr/local/lib/node_modules", "usr/share/nginx/html/src"],
        present: &["usr/share/nginx/html/index.html", "etc/nginx/templates/default.conf.template"],
        user: None,
        reproducible: true,
    },
    Example {
        name: "java-maven",
        bases: &["maven:3.8-eclipse-temurin-17", "eclipse-temurin:17-jre"],
        on_machine: false,
        builder: "builder",
        ask: Ask::Http { path: "/leap/2024", expect: "\"leap\":true" },
        absent: &["usr/bin/mvn", "usr/bin/javac", "usr/share/maven", "src", "root/.m2"],
        present: &["app/leap.jar"],
        user: Some("10001"),
        reproducible: true,
    },
    Example {
        name: "private-token",
        bases: &["node:20-bookworm", "node:20-bookworm-slim"],
        on_machine: false,
        builder: "deps",
        ask: Ask::Http { path: "/", expect: "haiku: " },
        absent: &["app/.npmrc", "app/npmrc", "run/secrets", "app/test"],
        present: &["app/node_modules/@acme/haiku/index.js", "app/server.js"],
        user: Some("1000"),
        reproducible: true,
    },
    Example {
        name: "rust-self",
        bases: &[],
        on_machine: true,
        builder: "builder",
        ask: Ask::Run { arguments: &["--version"], expect: "castoff" },
        absent: &["usr", "opt", "build", "root", "lib64"],
        present: &["castoff", "etc/ssl/certs/ca-certificates.crt"],
        user: None,
        reproducible: false,
    },
];

/// Returns the named examples, or all of them when no name is given.
pub fn select(names: &[String]) -> Result<Vec<&'static Example>> {
    if names.is_empty() {
        return Ok(EXAMPLES.iter().collect());
    }
    let mut selected = Vec::new();
    for name in names {
        match EXAMPLES.iter().find(|example| example.name == name) {
            Some(example) => selected.push(example),
            None => bail!("there is no example `{name}`"),
        }
    }
    Ok(selected)
}

//! castoff's own build checks. Each table has what must be found, and what must not.

use castoff_dockerfile::lint::{LintOptions, lint};
use castoff_dockerfile::parse;

/// Compares the findings of one rule, as `line place`, with what is expected.
#[track_caller]
fn check(rule: &str, source: &str, expected: &[&str]) {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let found: Vec<String> = lint(&parsed.dockerfile, &parsed.source, &LintOptions::default())
        .into_iter()
        .filter(|one| one.rule.name == rule)
        .map(|one| {
            let finding = one.diagnostic;
            assert!(!finding.hints.is_empty(), "{rule} says what to do");
            format!("{} {}", finding.lines.0, &parsed.source[finding.span.range()])
        })
        .collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn secrets_in_values() {
    let rule = "SecretInValue";
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    check(rule, &format!("FROM x\nENV A={token}\n"), &[&format!("2 {token}")]);
    check(
        rule,
        &format!("FROM x\nRUN git clone https://{token}@example.org/a.git\n"),
        &[&format!("2 {token}")],
    );
    check(rule, "FROM x\nARG A=AKIA0123456789ABCDEF\n", &["2 AKIA0123456789ABCDEF"]);
    check(rule, "FROM x\nRUN curl https://me:hunter2@example.org/\n", &["2 hunter2"]);
    let key = "FROM x\nCOPY <<EOF /key\n-----BEGIN RSA PRIVATE KEY-----\nabc\nEOF\n";
    check(rule, key, &["2 -----BEGIN RSA PRIVATE KEY-----"]);
    for fine in [
        "ENV A=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ENV A=$TOKEN",
        "ENV A=AKIAIOSFODNN7EXAMPLE",
        "ENV URL=postgres://postgres:postgres@db/app",
        "ENV URL=postgres://user:password@db/app",
        "RUN curl https://me:$PASSWORD@example.org/",
        "RUN curl https://example.org/a:b@c",
        "RUN git clone git@github.com:a/b.git",
        "COPY <<EOF /cert\n-----BEGIN CERTIFICATE-----\nEOF",
    ] {
        check(rule, &format!("FROM x\n{fine}\n"), &[]);
    }
}

#[test]
fn copies_before_an_installation() {
    let rule = "CopyAllBeforeInstall";
    for install in [
        "npm ci",
        "pip install -r requirements.txt",
        "apt-get update && apt-get install -y curl",
        "yarn",
        "bundle install --jobs 4",
        "cd web && pnpm install",
    ] {
        check(rule, &format!("FROM x\nCOPY . .\nRUN {install}\n"), &["2 ."]);
    }
    check(rule, "FROM x\nADD ./ /app\nUSER a\nRUN npm install\n", &["2 ./"]);
    for fine in [
        "COPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build",
        "COPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci",
        "COPY . .\nRUN pip install .",
        "COPY . .\nRUN npm install -g serve",
        "COPY . .\nRUN apt-get install -y ./app.deb",
        "COPY --from=y . .\nRUN npm ci",
        "COPY src .\nRUN npm ci",
        "COPY . .\nRUN echo npm ci",
    ] {
        check(rule, &format!("FROM x\n{fine}\n"), &[]);
    }
}

#[test]
fn caches_of_package_managers() {
    let rule = "PackageCacheInLayer";
    check(rule, "FROM x\nRUN apt-get update && apt-get install -y a\n", &["2 apt-get"]);
    check(rule, "FROM x\nRUN apk add -U a\nRUN apk update && apk add b\n", &["2 apk", "3 apk"]);
    check(rule, "FROM x\nRUN dnf -y install a\n", &["2 dnf"]);
    check(rule, "FROM x\nRUN pip install a && npm ci\n", &["2 pip", "2 npm"]);
    check(rule, "FROM x\nRUN python3 -m pip install a\n", &["2 python3"]);
    check(rule, "FROM x\nRUN <<EOF\napt-get update\napt-get install -y a\nEOF\n", &["2 apt-get"]);
    for fine in [
        "RUN apt-get update && apt-get install -y a && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get install -y a && rm -rf /var/cache/apt /var/lib/apt",
        "RUN --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y a",
        "RUN <<EOF\napt-get update\nrm -r /var/lib/apt/lists\nEOF",
        "RUN apk add --no-cache a",
        "RUN apk add a",
        "RUN apk --no-cache --update add a",
        "RUN yum install -y a && yum clean all",
        "RUN pip install --no-cache-dir a",
        "ENV PIP_NO_CACHE_DIR=1\nRUN pip install a",
        "RUN --mount=type=cache,target=/root/.cache pip install a",
        "RUN npm ci && npm cache clean --force",
        "RUN --mount=type=cache,target=/root/.npm npm ci",
        "RUN npm run install",
        "RUN echo apt-get update",
    ] {
        check(rule, &format!("FROM x\n{fine}\n"), &[]);
    }
    // What is cast off may have caches.
    check(rule, "FROM x AS build\nRUN npm ci\nFROM y\nCOPY --from=build /a /b\n", &[]);
    check(rule, "FROM x AS base\nRUN npm ci\nFROM base\nUSER a\n", &["2 npm"]);
}

#[test]
fn bases_without_a_version() {
    let rule = "UnpinnedBase";
    check(
        rule,
        "FROM debian\nFROM r.example.org:5000/a/b\nFROM c:latest\n",
        &["1 debian", "2 r.example.org:5000/a/b", "3 c:latest"],
    );
    check(
        rule,
        "ARG A=1\nFROM debian:12 AS base\nFROM base\nFROM scratch\nFROM a:$A\nFROM a@sha256:b\n",
        &[],
    );
}

#[test]
fn removals_of_what_a_layer_adds() {
    let rule = "RemovedInLaterLayer";
    check(rule, "FROM x\nCOPY a.tar /tmp/\nRUN tar xf /tmp/a.tar && rm /tmp/a.tar\n", &["3 /tmp/a.tar"]);
    check(rule, "FROM x\nCOPY a.tar /tmp/\nRUN rm -rf /tmp/*\n", &["3 /tmp/*"]);
    check(rule, "FROM x\nWORKDIR /src\nCOPY . .\nRUN make && rm -rf /src\n", &["4 /src"]);
    check(rule, "FROM x\nCOPY a b ./\nRUN rm -f b\n", &["3 b"]);
    check(
        rule,
        "FROM x\nRUN curl -fsSL -o /tmp/a.zip https://e.org/a\nRUN rm /tmp/a.zip\n",
        &["3 /tmp/a.zip"],
    );
    check(rule, "FROM x AS a\nCOPY k /k\nFROM a\nRUN rm /k\n", &["4 /k"]);
    for fine in [
        "RUN curl -o /tmp/a https://e.org/a && rm /tmp/a\nRUN rm -rf /tmp/b",
        "COPY a /tmp/\nRUN rm /tmp/b",
        "COPY a /tmp/\nRUN rm $A",
        "COPY a /app/a\nRUN rm -rf /app/a.d",
        "RUN rm /etc/a\nCOPY a /etc/a",
        "COPY a b\nWORKDIR /w\nRUN rm b",
    ] {
        check(rule, &format!("FROM x\n{fine}\n"), &[]);
    }
    check(rule, "FROM x AS a\nCOPY k /k\nRUN rm /k\nFROM y\n", &[]);
}

#[test]
fn recursive_changes() {
    let rule = "RecursiveChangeDoublesLayer";
    check(rule, "FROM x\nCOPY . /app\nRUN chown -R a:b /app\n", &["3 chown"]);
    check(rule, "FROM x\nWORKDIR /app\nCOPY . .\nRUN adduser a && chmod -vR g+w .\n", &["4 chmod"]);
    check(rule, "FROM x\nCOPY a /srv/app/\nRUN chown --recursive a /srv\n", &["3 chown"]);
    for fine in [
        "COPY . /app\nRUN chown a /app",
        "COPY . /app\nRUN mkdir /data && chown -R a /data",
        "COPY . /app\nRUN chown -R a /app/data",
        "COPY . /app\nRUN cd /srv && chown -R a .",
        "RUN mkdir /app && chown -R a /app\nCOPY . /app",
        "COPY . /app\nRUN chmod -x /app",
    ] {
        check(rule, &format!("FROM x\n{fine}\n"), &[]);
    }
}

#[test]
fn users_that_are_missing() {
    let rule = "MissingUser";
    check(rule, "FROM debian:12\nCMD [\"a\"]\n", &["1 debian:12"]);
    check(
        rule,
        "FROM golang:1 AS b\nFROM docker.io/library/alpine\nENTRYPOINT [\"a\"]\n",
        &["2 docker.io/library/alpine"],
    );
    for fine in [
        "FROM debian:12\nUSER a\nCMD [\"a\"]",
        "FROM debian:12 AS a\nUSER a\nFROM a\nCMD [\"a\"]",
        "FROM debian:12",
        "FROM example.org/base\nCMD [\"a\"]",
        "FROM someone/debian\nCMD [\"a\"]",
        "FROM nginx:1-unprivileged\nCMD [\"a\"]",
        "FROM debian:12\nENTRYPOINT [\"gosu\", \"a\", \"b\"]",
    ] {
        check(rule, &format!("{fine}\n"), &[]);
    }
}

#[test]
fn entrypoints_in_shell_form() {
    let rule = "ShellFormEntrypoint";
    check(rule, "FROM x\nENTRYPOINT a\nCMD [\"b\"]\n", &["2 ENTRYPOINT"]);
    check(rule, "FROM x\nSHELL [\"bash\", \"-c\"]\nENTRYPOINT a\n", &["3 ENTRYPOINT"]);
    check(rule, "FROM x\nSHELL [\"bash\", \"-c\"]\nENTRYPOINT exec a\n", &[]);
    check(rule, "FROM x\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\n", &[]);
    check(rule, "FROM x\nENTRYPOINT a\n", &[]);
}

#[test]
fn compilers_that_ship() {
    let rule = "CompilerInImage";
    check(rule, "FROM golang:1\nCOPY . .\nRUN go build -o /a\nCMD [\"/a\"]\n", &["3 go"]);
    check(
        rule,
        "FROM debian:12\nRUN apt-get install -y curl build-essential\nCMD [\"a\"]\n",
        &["2 build-essential"],
    );
    for fine in [
        "FROM golang:1 AS b\nRUN go build -o /a\nFROM scratch\nCMD [\"/a\"]",
        "FROM golang:1\nRUN go build -o /a",
        "FROM golang:1\nRUN go version\nCMD [\"/a\"]",
        "FROM alpine:3\nRUN apk add --virtual x gcc && make && apk del x\nCMD [\"a\"]",
        "FROM debian:12\nRUN apt-get install -y curl\nCMD [\"a\"]",
    ] {
        check(rule, &format!("{fine}\n"), &[]);
    }
}

#[test]
fn flags_that_change_nothing() {
    // D-037
    let rule = "FlagWithoutEffect";
    check(
        rule,
        "ARG --a b\nFROM x\nARG --required --c=1 d\nSTOPSIGNAL --x 9\nHEALTHCHECK --interval=1s NONE\n",
        &["1 --a", "3 --required", "3 --c=1", "4 --x", "5 --interval=1s"],
    );
    check(rule, "FROM x\nARG d='--x'\nHEALTHCHECK --interval=1s CMD a\nRUN --network=none x --y\n", &[]);
    check(rule, "FROM x\n# check=skip=FlagWithoutEffect\nARG --c d\n", &[]);
}

#[test]
fn arguments_below_variables_of_their_name() {
    // D-092
    let rule = "ArgShadowsEnv";
    check(rule, "FROM x\nENV A=1\nARG A=2\n", &["3 A"]);
    check(rule, "FROM x AS b\nENV A=1\nFROM b\nARG A\n", &["4 A"]);
    check(rule, "FROM x\nARG A=1\nENV A=$A\n", &[]);
    check(rule, "FROM x\nENV A=1\nFROM y\nARG A\n", &[]);
    check(rule, "FROM x\nENV A=1\n# check=skip=ArgShadowsEnv\nARG A\n", &[]);
}

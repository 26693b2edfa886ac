//! Dockerfiles of every shape and size.

use std::fmt;

/// What people write.
pub const ORDINARY: &str = r#"# syntax=docker/dockerfile:1
ARG GO_VERSION=1.22

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS deps
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download

FROM deps AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -ldflags "-X main.version=${VERSION}" -o /out/server ./cmd/server

FROM node:22-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json ./
RUN npm ci
COPY web/ .
RUN npm run build

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="server" org.opencontainers.image.version="${VERSION:-dev}"
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tzdata \
    # The lists are of no use later.
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 app && useradd --uid 1000 --gid app app
COPY <<EOF /etc/server.conf
listen = 0.0.0.0:8080
root = /srv/web
EOF
COPY --from=build --chown=app:app /out/server /usr/local/bin/server
COPY --from=web --chown=app:app /web/dist /srv/web
USER app
EXPOSE 8080/tcp 9090
HEALTHCHECK --interval=30s --timeout=3s CMD ["server", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/server"]
CMD ["--config", "/etc/server.conf"]
"#;

/// A way to make a file large: what it begins with, what is repeated, and what it ends with. In the
/// repeated part `#` is a number, and `^` the one after it.
#[derive(Clone, Copy)]
pub struct Shape {
    name: &'static str,
    begin: &'static str,
    part: &'static str,
    end: &'static str,
}

const fn shape(name: &'static str, begin: &'static str, part: &'static str, end: &'static str) -> Shape {
    Shape { name, begin, part, end }
}

/// All shapes.
pub const SHAPES: &[Shape] = &[
    shape("one line", "FROM a\nRUN ", "word ", "\n"),
    shape("one line of quotes", "FROM a\nENV a=", "\"x\"'y'", "\n"),
    shape("one word", "FROM a\nRUN ", "w", "\n"),
    shape("continuations", "FROM a\nRUN x", " \\\n  y", "\n"),
    shape("continued blanks", "FROM a\nRUN x", " \\\n\n\n", "\n"),
    shape("comments", "", "+ c\n", "FROM a\n"),
    shape("runs", "FROM a\n", "RUN x #\n", ""),
    shape("copies", "FROM a\n", "COPY a# /b/\n", ""),
    shape("sources", "FROM a\nCOPY ", "a# ", "/b/\n"),
    shape("json", "FROM a\nCMD [\"x\"", ",\"a\"", "]\n"),
    shape("broken json", "FROM a\nCMD ", "[\"a\",", "\n"),
    shape("flags", "FROM a\nRUN ", "--mount=target=/a# ", "x\n"),
    shape("wrong flags", "FROM a\nRUN ", "--mont=# ", "x\n"),
    shape("one heredoc", "FROM a\nRUN <<E\n", "a line\n", "E\n"),
    shape("heredocs", "FROM a\n", "COPY <<E# /x\na\nE#\n", ""),
    shape("expanded heredoc", "FROM a\nARG v=1\nCOPY <<E /x\n", "${v:-${w}} $v\n", "E\n"),
    shape("heredocs of one line", "FROM a\nRUN x", " <<E", "\n"),
    shape("heredocs without end", "FROM a\n", "RUN <<E\n", ""),
    shape("stages", "FROM a\n", "FROM a AS s#\nRUN x\n", ""),
    shape("needed stages", "FROM a AS s\nFROM s\n", "COPY --from=s /x# /\n", ""),
    shape("images", "", "FROM a# AS s#\n", "FROM x\n"),
    shape("needed images", "FROM x\n", "COPY --from=a# /x /\n", ""),
    shape("chain of stages", "FROM a AS s0\n", "FROM s# AS s^\n", ""),
    shape("unknown stages", "FROM a AS stage\n", "FROM a AS s#\nCOPY --from=s#x /a /b\n", ""),
    shape("braces", "FROM a\nENV a=", "${x:-", "\n"),
    shape("variables", "FROM a\nARG v=1\nENV a=", "$v${v}${v:-x}", "\n"),
    shape("patterns", "FROM a\nARG v=aaaaaaaaaaaaaaaaaaaaaaaa\nENV a=", "${v//a*b?c/x}", "\n"),
    shape("one pattern", "FROM a\nARG v=aaaaaaaaaaaaaaaaaaaaaaaa\nENV a=${v//", "a*", "/x}\n"),
    shape("long value", "FROM a\nARG v=", "a", "\nENV a=${v//a*b/x} b=${v%%*b} c=${v//?/y} d=${v##*aab*}\n"),
    shape("env", "FROM a\n", "ENV a#=$a#\n", ""),
    shape("env and run", "FROM a\n", "ENV a#=1\nRUN x\n", ""),
    shape("arg", "FROM a\n", "ARG a#=1\n", ""),
    shape("arg and run", "FROM a\n", "ARG a#=1\nRUN x\n", ""),
    shape("global arg", "", "ARG a#=1\n", "FROM a\n"),
    shape("pairs", "FROM a\nENV ", "a#=$a# ", "\n"),
    shape("labels", "FROM a\n", "LABEL a#=b\n", ""),
    shape("ports", "FROM a\nEXPOSE ", "# ", "\n"),
    shape("volumes", "FROM a\n", "VOLUME /a#\n", ""),
    shape("unset variables", "FROM a\nARG name=1\n", "COPY $nam# /\n", ""),
    shape("unknown instructions", "FROM a\n", "RUM x\n", ""),
    shape("unknown words", "FROM a\n", "x#\n", ""),
    shape("triggers", "FROM a\n", "ONBUILD RUN x\n", ""),
    shape("health checks", "FROM a\n", "HEALTHCHECK CMD x\n", ""),
    shape("working directories", "FROM a\n", "WORKDIR a\n", ""),
    shape("binary", "FROM a\n", "\0\u{1}\u{fffd}\n", ""),
];

impl Shape {
    /// Returns a text of about that many bytes.
    pub fn text(&self, size: usize) -> String {
        let mut text = self.begin.to_owned();
        let mut number = 0_u64;
        while text.len() + self.end.len() < size {
            let part = self.part.replace('#', &number.to_string()).replace('^', &(number + 1).to_string());
            text.push_str(&part.replace('+', "#"));
            number += 1;
        }
        text + self.end
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

//! Whatever the text, the planner ends with a plan or with diagnostics.

use crate::laws::{Surroundings, plan_to_the_end};

const SOURCE: &str = r#"ARG TAG=1
FROM --platform=$BUILDPLATFORM golang:${TAG} AS build
ARG TARGETARCH
ENV A=1 B="$A x"
WORKDIR src/$A
RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=t,env=T make ${X:-y}
RUN <<EOF
#!/bin/sh
echo hi
EOF
COPY --from=0 --chown=1:2 --chmod=u+x <<a <<b . /d/
$A ${B}
a
b
ONBUILD COPY --from=build /a /b
FROM build AS next
EXPOSE 80/udp 1-3
FROM scratch
COPY --from=next --link /x /y
HEALTHCHECK --interval=1s CMD ["a"]
STOPSIGNAL 9
VOLUME ["/v"]
USER a:b
CMD run
"#;

fn plan(source: &[u8]) {
    plan_to_the_end(source, &Surroundings::default());
}

#[test]
fn truncated_texts() {
    for end in 0..=SOURCE.len() {
        plan(&SOURCE.as_bytes()[..end]);
    }
}

#[test]
fn texts_with_a_byte_removed_or_replaced() {
    for index in 0..SOURCE.len() {
        let mut bytes = SOURCE.as_bytes().to_vec();
        for replacement in [b'$', b'"', b'/', b'\n', 0xff] {
            bytes[index] = replacement;
            plan(&bytes);
        }
        bytes.remove(index);
        plan(&bytes);
    }
}

#[test]
fn texts_with_lines_swapped() {
    let lines: Vec<&str> = SOURCE.lines().collect();
    for first in 0..lines.len() {
        for second in first + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(first, second);
            plan(swapped.join("\n").as_bytes());
        }
    }
}

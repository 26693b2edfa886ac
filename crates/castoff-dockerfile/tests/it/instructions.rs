//! Single instructions (sections 6 to 14, syntax only).

use crate::print::{check, fails, refused, tree};

#[test]
fn arg_declares_names() {
    // D-084
    check("ARG a", "ARG a");
    check("ARG a=1 b c=\"x y\" d=", "ARG a=1 b c=\"x y\" d=");
    refused("ARG", "ARG requires at least one argument");
    refused("ARG =x", "names can not be blank");
}

#[test]
fn only_arg_stands_before_from() {
    // D-085
    assert_eq!(tree("ARG a=1\n# c\nARG b\nFROM $a"), "ARG a=1\nARG b\nFROM $a\n");
    fails("RUN a\nRUN b\nFROM x", &["no build stage in current context"]);
    for instruction in [
        "ADD a b",
        "CMD a",
        "COPY a b",
        "ENTRYPOINT a",
        "ENV a=b",
        "EXPOSE 1",
        "HEALTHCHECK NONE",
        "LABEL a=b",
        "MAINTAINER a",
        "ONBUILD RUN a",
        "RUN a",
        "SHELL [\"a\"]",
        "STOPSIGNAL 9",
        "USER a",
        "VOLUME a",
        "WORKDIR a",
    ] {
        fails(&format!("ARG a\n{instruction}\nFROM x\n"), &["no build stage in current context"]);
    }
}

#[test]
fn env_takes_pairs() {
    // D-105
    check("ENV a=b c=d", "ENV [a][b] [c][d]");
    check("ENV a=b=c d=", "ENV [a][b=c] [d][]");
    check("ENV a   b  c ", "ENV legacy [a][b  c]");
    refused("ENV", "ENV requires at least one argument");
}

#[test]
fn a_legacy_value_is_the_rest_of_the_line() {
    // D-106
    check("ENV ONE TWO= THREE=x", "ENV legacy [ONE][TWO= THREE=x]");
    check("LABEL a \"b c\"", "LABEL legacy [a][\"b c\"]");
}

#[test]
fn broken_pairs_are_refused() {
    // D-107
    refused("ENV k", "ENV must have two arguments");
    refused("LABEL k", "LABEL must have two arguments");
    refused("ENV a=b c", "can't find = in \"c\"");
    refused("ENV =x", "ENV names can not be blank");
    fails("FROM x\nENV a=b c d", &["can't find = in \"c\"", "can't find = in \"d\""]);
}

#[test]
fn from_has_one_or_three_arguments() {
    // D-112
    assert_eq!(tree("FROM --platform=linux/$A x As y"), "FROM platform=\"linux/$A\" x AS y\n");
    for line in ["FROM", "FROM a b", "FROM a b c", "FROM a AS", "FROM a AS b c"] {
        fails(line, &["FROM requires either one or three arguments"]);
    }
    fails("FROM --platfrom=x a\nRUN b", &["unknown flag: --platfrom (did you mean platform?)"]);
}

#[test]
fn stage_names_are_checked() {
    // D-113, D-114
    assert_eq!(tree("FROM a AS B-1_x.y\nFROM a AS scratch"), "FROM a AS B-1_x.y\nFROM a AS scratch\n");
    for name in ["1a", "-a", "a$b", "a/b", "\u{fc}", "a:b"] {
        fails(&format!("FROM a AS {name}"), &["invalid name for build stage"]);
    }
}

#[test]
fn a_broken_from_still_begins_a_stage() {
    fails("FROM a b\nRUN c\nFOO\n", &["FROM requires", "unknown instruction: FOO"]);
}

#[test]
fn run_may_be_empty() {
    // D-133, D-135
    check("RUN", "RUN sh \"\"");
    check("RUN []", "RUN exec []");
}

#[test]
fn mounts_are_comma_separated_fields() {
    // D-146
    check("RUN --mount=type=cache,Target=/x,RO a", "RUN mount[type=cache|target=/x|ro] sh \"a\"");
    check("RUN --mount=type=bind,'\"source=a,b\"' c", "RUN mount[type=bind|source=a,b] sh \"c\"");
    check("RUN --mount='\"a\"\"b\"' c", "RUN mount[a\"b] sh \"c\"");
    check("RUN --mount=id=A=B --mount=type=$T c", "RUN mount[id=A=B] mount[type=$T] sh \"c\"");
    for value in ["", "'a\"b'", "'\"a\"b'", "'\"a'"] {
        refused(&format!("RUN --mount={value} c"), "invalid --mount");
    }
}

#[test]
fn cmd_and_entrypoint_may_be_empty() {
    // D-182
    check("CMD []", "CMD exec []");
    check("ENTRYPOINT []", "ENTRYPOINT exec []");
    check("CMD", "CMD sh \"\"");
}

#[test]
fn shell_is_json() {
    // D-184
    check("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [\"/bin/bash\", \"-c\"]");
    refused("SHELL bash -c", "requires the arguments to be in JSON form");
    refused("SHELL []", "SHELL requires at least one argument");
    refused("SHELL", "SHELL requires at least one argument");
}

#[test]
fn copy_needs_two_arguments() {
    // D-187
    check("COPY a b c/", "COPY \"a\" \"b\" -> \"c/\"");
    refused("COPY", "COPY requires at least two arguments");
    refused("COPY a", "COPY requires at least two arguments");
    refused("ADD [\"a\"]", "ADD requires at least two arguments");
    refused("COPY --link", "COPY requires at least two arguments");
}

#[test]
fn copy_and_add_have_their_flags() {
    // D-188
    check(
        "COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=*.c a b",
        "COPY from=\"b\" chown=\"1:2\" chmod=\"u+x\" exclude=\"*.c\" link parents \"a\" -> \"b\"",
    );
    check(
        "ADD --chown=1 --chmod=755 --link --exclude=x --checksum=sha256:1 --keep-git-dir=true --unpack a b",
        "ADD chown=\"1\" chmod=\"755\" checksum=\"sha256:1\" exclude=\"x\" link keep-git-dir=true unpack=true \
         \"a\" -> \"b\"",
    );
    refused("ADD --from=x a b", "unknown flag: --from");
    refused("ADD --parents a b", "unknown flag: --parents");
    refused("COPY --checksum=x a b", "unknown flag: --checksum");
    refused("COPY --unpack a b", "unknown flag: --unpack");
    refused("COPY --keep-git-dir a b", "unknown flag: --keep-git-dir");
}

#[test]
fn the_rest_of_the_line_is_one_argument() {
    // D-245, D-252, D-263
    check("WORKDIR /a b", "WORKDIR \"/a b\"");
    check("USER a:b", "USER \"a:b\"");
    check("STOPSIGNAL SIGTERM", "STOPSIGNAL \"SIGTERM\"");
    check("MAINTAINER A B <c@d>", "MAINTAINER \"A B <c@d>\"");
    for keyword in ["WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER"] {
        refused(keyword, &format!("{keyword} requires exactly one argument"));
    }
}

#[test]
fn labels_are_pairs() {
    // D-256
    check("LABEL a=b \"c.d\"='e f'", "LABEL [a][b] [\"c.d\"]['e f']");
    refused("LABEL", "LABEL requires at least one argument");
}

#[test]
fn expose_has_words() {
    // D-258
    check("EXPOSE 80 443/tcp", "EXPOSE \"80\" \"443/tcp\"");
    refused("EXPOSE", "EXPOSE requires at least one argument");
}

#[test]
fn volumes_are_not_empty() {
    // D-261
    check("VOLUME [\" /a \"]", "VOLUME \"/a\"");
    refused("VOLUME [\"\"]", "VOLUME specified can not be an empty string");
    refused("VOLUME []", "VOLUME requires at least one argument");
    refused("VOLUME", "VOLUME requires at least one argument");
}

#[test]
fn healthchecks_have_a_type() {
    // D-264
    check("HEALTHCHECK none", "HEALTHCHECK NONE");
    check("HEALTHCHECK cmd  a  b", "HEALTHCHECK (0,0,0,0,0) sh \"a  b\"");
    refused("HEALTHCHECK", "HEALTHCHECK requires at least one argument");
    refused("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments");
    refused("HEALTHCHECK curl x", "Unknown type");
    refused("HEALTHCHECK CMD", "Missing command");
    refused("HEALTHCHECK CMD []", "Missing command");
}

#[test]
fn healthcheck_durations_are_those_of_go() {
    // D-265
    check(
        "HEALTHCHECK --interval=1m30s --timeout=1.5h --start-period=0 --start-interval=1ms --retries=3 CMD a",
        "HEALTHCHECK (90000000000,5400000000000,0,1000000,3) sh \"a\"",
    );
    check(
        "HEALTHCHECK --interval=.5s --timeout=1000us CMD a",
        "HEALTHCHECK (500000000,1000000,0,0,0) sh \"a\"",
    );
    check("HEALTHCHECK --interval=0s --timeout= --retries= CMD a", "HEALTHCHECK (0,0,0,0,0) sh \"a\"");
    for value in ["-1s", "1us", "-5m"] {
        refused(&format!("HEALTHCHECK --interval={value} CMD a"), "--interval cannot be less than 1ms");
    }
    for value in ["5", "x", "1x", "s", ".s", "1.s.", "9999999999999h", "-"] {
        refused(&format!("HEALTHCHECK --timeout={value} CMD a"), "invalid duration");
    }
    refused("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative");
    refused("HEALTHCHECK --retries=x CMD a", "invalid number");
    refused("HEALTHCHECK --retrys=1 CMD a", "did you mean retries?");
}

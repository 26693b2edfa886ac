//! Laws that hold for every input.

use proptest::prelude::*;

use crate::laws::{check_expansion, check_file, check_round_trip, check_trigger};

/// Pieces that make random text look like a Dockerfile.
const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "HEALTHCHECK ",
    "CMD ",
    "ONBUILD ",
    "SHELL ",
    "VOLUME ",
    "EXPOSE ",
    "scratch",
    " AS ",
    "a",
    "/b",
    "x=1",
    "=",
    "\"",
    "'",
    "\\",
    "\\\n",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    "#",
    "# escape=`\n",
    "# syntax=x\n",
    "`",
    "`\n",
    "<<EOF",
    "<<-'E F'",
    "<<",
    "EOF",
    "\nEOF\n",
    "E F\n",
    "--",
    "--from=",
    "--mount=type=cache,",
    "--link",
    "--interval=5s",
    "NONE",
    "[",
    "]",
    "\"a\"",
    ",",
    "$",
    "${",
    "}",
    ":-",
    "##",
    "%",
    "//",
    "\u{feff}",
    "\u{fc}",
    "\u{3000}",
    "\0",
];

fn dockerfile() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

/// Texts of which many have no error: whole instructions, oddly spelt.
fn sound_dockerfile() -> impl Strategy<Value = String> {
    const LINES: &[&str] = &[
        "RUN echo a \\\n  # c\n\n  b\n",
        "run  --mount=type=cache,target=/x --network=none make\t\n",
        "RUN <<EOF cat <<-'B' >x\n\ta\r\n\nEOF\n\t$b\n\tB\n",
        "RUN [\"a\", \"b\\\\\"]\r\n",
        "RUN a \\\u{c}\n",
        "RUN a \\\\\n",
        "COPY --from=a --chmod='1 2' x <<\"a b\" /y\n# no\na b\n",
        "ADD [\"a b\", \"c\"]\n",
        "# stage the text\nFROM --platform=\"a b\" x AS stage\n",
        "from -- --x\n",
        "FROM a\u{a0}b\n",
        "ENV a=1 b='x y'\n",
        "ENV a  b c\n",
        "#x\n#\n# y\nARG x y=1 z=\"a\"\n",
        "ONBUILD RUN <<A\n#!x\nA\n",
        "HEALTHCHECK --interval=1m CMD x\n",
        "CMD\n",
        "SHELL [\"a\"]\n",
        "VOLUME a b\n",
        "EXPOSE 1\n",
        "WORKDIR  a b \n",
    ];
    let lines = prop::collection::vec(prop::sample::select(LINES), 0..12);
    let heads = prop::sample::select(
        &["", "# syntax=x y\n# check=skip=all\n", "# escape=`\n", "#! x\n# syntax=y\n", "\u{feff}# x=1\n"][..],
    );
    (heads, lines).prop_map(|(head, lines)| format!("{head}ARG g\nFROM x\n{}", lines.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_with_spans_in_range(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_file(&bytes);
    }

    #[test]
    fn likely_text_parses_with_spans_in_range(text in dockerfile()) {
        check_file(text.as_bytes());
    }

    #[test]
    fn likely_text_with_broken_bytes_parses(text in dockerfile(), at in any::<prop::sample::Index>()) {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = 0xff;
        }
        check_file(&bytes);
    }

    #[test]
    fn triggers_parse_or_fail_with_spans_in_range(text in dockerfile()) {
        check_trigger(&text);
    }

    #[test]
    fn what_was_parsed_and_printed_parses_to_the_same(text in sound_dockerfile()) {
        check_round_trip(text.as_bytes());
    }

    #[test]
    fn any_word_expands_or_fails_inside_it(word in dockerfile(), quotes in any::<bool>(), tick in any::<bool>()) {
        let variable = |name: &str| (name.len() % 2 == 1).then(|| format!("{name}/x"));
        check_expansion(&word, if tick { '`' } else { '\\' }, quotes, &variable);
    }
}

//! Here-documents (section 4).

use castoff_dockerfile::{InstructionKind, parse};

use crate::print::{check, fails, refused, tree};

#[test]
fn only_run_copy_and_add_have_them() {
    // D-046
    fails("FROM x\nUSER <<A\nA\n", &["unknown instruction: A"]);
    for other in [
        "ARG a=<<A",
        "CMD <<A",
        "ENTRYPOINT <<A",
        "ENV a=<<A",
        "EXPOSE <<A",
        "HEALTHCHECK CMD <<A",
        "LABEL a=<<A",
        "MAINTAINER <<A",
        "STOPSIGNAL <<A",
        "VOLUME <<A",
        "WORKDIR <<A",
        "ONBUILD USER <<A",
        "ONBUILD CMD <<A",
    ] {
        assert!(tree(&format!("FROM x\n{other}\nRUN b\n")).ends_with("\nRUN sh \"b\"\n"), "{other}");
    }
    check("CMD <<A", "CMD sh \"<<A\"");
    check("ADD <<A /x\nb\nA", "ADD <<A \"b\\n\" -> \"/x\"");
    check("COPY <<A /x\nb\nA", "COPY <<A \"b\\n\" -> \"/x\"");
    check("ONBUILD COPY <<A /x\nb\nA", "ONBUILD \"COPY <<A /x\\nb\\nA\" = COPY <<A \"b\\n\" -> \"/x\"");
    check("ONBUILD ADD <<A /x\nb\nA", "ONBUILD \"ADD <<A /x\\nb\\nA\" = ADD <<A \"b\\n\" -> \"/x\"");
    check("ONBUILD RUN <<A\nb\nA", "ONBUILD \"RUN <<A\\nb\\nA\" = RUN sh \"<<A\" only <<A \"b\\n\"");
}

#[test]
fn tokens_are_unquoted_words() {
    // D-047
    check("RUN <<A\nA", "RUN sh \"<<A\" only <<A \"\"");
    check("RUN 3<<A\nA", "RUN sh \"3<<A\" only 3<<A \"\"");
    check("RUN <<  A\nA", "RUN sh \"<<  A\" only <<A \"\"");
    check("RUN <<  A  > foo\nA", "RUN sh \"<<  A  > foo\" <<A \"\"");
    check("RUN <<- A\nA", "RUN sh \"<<- A\" only <<-A \"\"");
    check("RUN << -A\n-A", "RUN sh \"<< -A\" only <<-A \"\"");
    check("RUN \"<<A\"", "RUN sh \"\\\"<<A\\\"\"");
    check("RUN '<<A' <<<B x<<C <<", "RUN sh \"'<<A' <<<B x<<C <<\"");
    check("RUN cat <<-", "RUN sh \"cat <<-\"");
    check("RUN [\"<<A\"]", "RUN exec [\"<<A\"]");
    check("COPY [\"<<A\", \"/x\"]", "COPY \"<<A\" -> \"/x\"");
    check("RUN echo it's <<A", "RUN sh \"echo it's <<A\"");
    check("RUN echo $((1<<2))", "RUN sh \"echo $((1<<2))\"");
}

#[test]
fn delimiters_lose_their_quotes() {
    // D-048
    check("RUN <<'A'\n$b\nA", "RUN sh \"<<'A'\" only <<'A' \"$b\\n\"");
    check("RUN <<\"A\"\nA", "RUN sh \"<<\\\"A\\\"\" only <<'A' \"\"");
    check("RUN <<e'o'f\neof", "RUN sh \"<<e'o'f\" only <<'eof' \"\"");
    check("RUN <<eo\\'f\neo'f", "RUN sh \"<<eo\\\\'f\" only <<eo'f \"\"");
    check("RUN <<'e'o\\'f\neo'f", "RUN sh \"<<'e'o\\\\'f\" only <<'eo'f' \"\"");
    check("RUN <<'one two'\none two", "RUN sh \"<<'one two'\" only <<'one two' \"\"");
    check("COPY <<'one two' /x\none two", "COPY <<'one two' \"\" -> \"/x\"");
    check("RUN <<$A\n$A", "RUN sh \"<<$A\" only <<$A \"\"");
    check("RUN <<''", "RUN sh \"<<''\"");
}

#[test]
fn delimiters_use_the_backslash_whatever_the_escape_character() {
    // D-022
    assert_eq!(tree("# escape=`\nFROM x\nRUN <<a\\'\na'"), "FROM x\nRUN sh \"<<a\\\\'\" only <<a' \"\"\n");
}

#[test]
fn bodies_follow_in_order() {
    // D-049
    check("COPY <<X <<Y /d\nY\nX\nX\nY", "COPY <<X \"Y\\n\" <<Y \"X\\n\" -> \"/d\"");
    check("RUN <<A\n A\nA b\nA", "RUN sh \"<<A\" only <<A \" A\\nA b\\n\"");
    check("RUN <<-A\n\t\tb\n\t\tA", "RUN sh \"<<-A\" only <<-A \"b\\n\"");
    check("RUN a \\\n <<A\nb\nA", "RUN sh \"a  <<A\" <<A \"b\\n\"");
}

#[test]
fn a_missing_terminator_is_an_error() {
    // D-050
    refused("RUN <<A\nRUN b\n A\n", "unterminated heredoc");
    refused("COPY <<A <<B /x\nA\n", "unterminated heredoc");
    let parsed = parse(b"FROM x\nRUN <<A\nb\n");
    assert_eq!(parsed.diagnostics[0].lines, (2, 3));
    assert_eq!(parsed.diagnostics[0].span.range(), 11..14);
}

#[test]
fn nothing_is_special_in_a_body() {
    // D-051, D-002
    check("RUN <<A\n# a\n\nb \\\n<<B\nA", "RUN sh \"<<A\" only <<A \"# a\\n\\nb \\\\\\n<<B\\n\"");
    check("COPY <<A /x\r\nb\r\nA\r\n", "COPY <<A \"b\\r\\n\" -> \"/x\"");
    check(
        "RUN <<A\n# escape=`\n  FROM y\nRUN <<B\nA",
        "RUN sh \"<<A\" only <<A \"# escape=`\\n  FROM y\\nRUN <<B\\n\"",
    );
}

#[test]
fn a_dash_removes_tabs_only() {
    // D-052
    check("COPY <<-A /x\n\t\ta\n \tb\n\t\n\tA", "COPY <<-A \"a\\n \\tb\\n\\n\" -> \"/x\"");
}

#[test]
fn sources_may_be_mixed() {
    // D-053
    check("COPY a <<b.txt c /d/\nB\nb.txt", "COPY \"a\" \"c\" <<b.txt \"B\\n\" -> \"/d/\"");
}

#[test]
fn a_destination_is_no_heredoc() {
    // D-055
    refused("COPY a <<B\nB", "COPY cannot accept a heredoc as a destination");
    refused("ADD <<A <<B\nA\nB", "ADD cannot accept a heredoc as a destination");
}

#[test]
fn a_command_may_be_nothing_but_a_heredoc() {
    // D-056, D-057
    check("RUN --network=none <<A\nb\nA", "RUN network=\"none\" sh \"<<A\" only <<A \"b\\n\"");
    check("RUN <<A bash\nb\nA", "RUN sh \"<<A bash\" <<A \"b\\n\"");
    check("RUN cat <<A | tr a b\nb\nA", "RUN sh \"cat <<A | tr a b\" <<A \"b\\n\"");
    check("RUN <<A <<B\nA\nB", "RUN sh \"<<A <<B\" <<A \"\" <<B \"\"");
}

#[test]
fn bodies_are_kept_as_written_for_the_shell() {
    // D-057
    let parsed = parse(b"FROM x\nRUN cat <<-'A' 4<<B\n\ta\n\tA\nb\r\nB\n");
    let run = &parsed.dockerfile.stages[0].instructions[0];
    assert_eq!(run.text, "cat <<-'A' 4<<B\n\ta\nA\nb\r\nB");
    let InstructionKind::Run(run) = &run.kind else { panic!("{run:?}") };
    assert_eq!(run.heredocs[0].raw, "\ta\nA");
    assert_eq!(run.heredocs[1].raw, "b\r\nB");
    assert_eq!(run.heredocs[1].descriptor, Some(4));
}

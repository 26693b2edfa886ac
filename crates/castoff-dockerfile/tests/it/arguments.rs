//! Keyword, flags, arguments (section 3).

use castoff_dockerfile::{InstructionKind, parse};

use crate::print::{check, fails, refused, tree};

#[test]
fn keywords_are_case_insensitive() {
    // D-030
    assert_eq!(
        tree("from x as y\nrUn a\nRUN\tb\nRUN\u{b}c"),
        "FROM x AS y\nRUN sh \"a\"\nRUN sh \"b\"\nRUN sh \"c\"\n"
    );
    check("RUN \t\r\u{b}\u{c} a", "RUN sh \"a\"");
    for (instruction, printed) in [
        ("aDD a b", "ADD \"a\" -> \"b\""),
        ("aRG a", "ARG a"),
        ("cMD a", "CMD sh \"a\""),
        ("cOPY a b", "COPY \"a\" -> \"b\""),
        ("eNTRYPOINT a", "ENTRYPOINT sh \"a\""),
        ("eNV a=b", "ENV [a][b]"),
        ("eXPOSE 1", "EXPOSE \"1\""),
        ("hEALTHCHECK nONE", "HEALTHCHECK NONE"),
        ("lABEL a=b", "LABEL [a][b]"),
        ("mAINTAINER a", "MAINTAINER \"a\""),
        ("oNBUILD rUN a", "ONBUILD \"rUN a\" = RUN sh \"a\""),
        ("sHELL [\"a\"]", "SHELL [\"a\"]"),
        ("sTOPSIGNAL 9", "STOPSIGNAL \"9\""),
        ("uSER a", "USER \"a\""),
        ("vOLUME a", "VOLUME \"a\""),
        ("wORKDIR a", "WORKDIR \"a\""),
    ] {
        check(instruction, printed);
    }
}

#[test]
fn unknown_keywords_are_guessed() {
    // D-031
    refused("FOO bar", "unknown instruction: FOO");
    refused("RNU a", "unknown instruction: RNU (did you mean RUN?)");
    refused("copyy a b", "unknown instruction: copyy (did you mean COPY?)");
    refused("RUN\u{a0}a", "unknown instruction: RUN\u{a0}a");
}

#[test]
fn flags_are_words_before_the_first_other() {
    // D-032
    check(
        "RUN --network=none --security=insecure a --network=host",
        "RUN network=\"none\" security=\"insecure\" sh \"a --network=host\"",
    );
    check("RUN -- --network=none", "RUN sh \"--network=none\"");
    check("RUN --network=none -- a", "RUN network=\"none\" sh \"a\"");
    check("COPY --link -x /y", "COPY link \"-x\" -> \"/y\"");
    check("RUN --", "RUN sh \"\"");
}

#[test]
fn flags_lose_their_quotes() {
    // D-033
    check("COPY --chown=\"a b\":'c' x y", "COPY chown=\"a b:c\" \"x\" -> \"y\"");
    check("COPY --chown=a\\ b\\\"'c\\'d' x y", "COPY chown=\"a b\\\"c'd\" \"x\" -> \"y\"");
    check("COPY \"--link\" x y", "COPY \"\\\"--link\\\"\" \"x\" -> \"y\"");
    assert_eq!(
        tree("# escape=`\nFROM x\nCOPY --chown=a` b`\"\\ x y"),
        "FROM x\nCOPY chown=\"a b\\\"\\\\\" \"x\" -> \"y\"\n"
    );
    refused("COPY --chown=\"a x y", "quote not closed in flag: --chown");
    fails("FROM --platform='x", &["quote not closed in flag: --platform"]);
}

#[test]
fn switches_are_true_or_false() {
    // D-034
    check("COPY --link --parents x y", "COPY link parents \"x\" -> \"y\"");
    check("COPY --link=TRUE --parents=False x y", "COPY link \"x\" -> \"y\"");
    check("ADD --keep-git-dir --unpack=false x y", "ADD keep-git-dir=true unpack=false \"x\" -> \"y\"");
    refused("COPY --link= x y", "expecting boolean value");
    refused("COPY --link=1 x y", "expecting boolean value");
}

#[test]
fn values_need_an_equals_sign() {
    // D-035
    refused("COPY --chown root x y", "missing a value on flag: --chown");
    check("COPY --chown= x y", "COPY chown=\"\" \"x\" -> \"y\"");
}

#[test]
fn unknown_and_repeated_flags_are_refused() {
    // D-036
    refused("RUN --mont=type=cache a", "unknown flag: --mont (did you mean mount?)");
    refused("COPY --nothing-like-it x y", "unknown flag: --nothing-like-it");
    refused("COPY --chown=a --chown=b x y", "duplicate flag specified: --chown");
    check("COPY --exclude=a --exclude=b x y", "COPY exclude=\"a\" exclude=\"b\" \"x\" -> \"y\"");
    check("RUN --device=a --device=b,required x", "RUN device=\"a\" device=\"b,required\" sh \"x\"");
}

#[test]
fn every_wrong_flag_is_reported() {
    let parsed = parse(b"FROM x\nCOPY --a --link=2 x\n");
    let messages: Vec<_> = parsed.diagnostics.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(&parsed.source[parsed.diagnostics[0].span.range()], "--a");
    assert_eq!(&parsed.source[parsed.diagnostics[1].span.range()], "--link=2");
}

#[test]
fn instructions_without_flags_refuse_them() {
    // D-037
    for line in
        ["CMD --x a", "ENV --x a=b", "USER --x a", "EXPOSE --x 1", "ONBUILD --x RUN a", "SHELL --x [\"a\"]"]
    {
        refused(line, "unknown flag: --x");
    }
    for (line, printed, flags) in [
        ("ARG --x a", "ARG a", &["--x"][..]),
        ("STOPSIGNAL --x --y=1 9", "STOPSIGNAL \"9\"", &["--x", "--y=1"]),
        ("HEALTHCHECK --interval=x NONE", "HEALTHCHECK NONE", &["--interval=x"]),
    ] {
        check(line, printed);
        let parsed = parse(format!("FROM x\n{line}").as_bytes());
        let ignored = &parsed.dockerfile.stages[0].instructions[0].ignored_flags;
        let words: Vec<&str> = ignored.iter().map(|flag| &parsed.source[flag.span.range()]).collect();
        assert_eq!(words, flags, "{line}");
    }
}

#[test]
fn exec_form_is_a_json_array_of_strings() {
    // D-038, D-041
    check("RUN [\"a\", \"b c\"]", "RUN exec [\"a\", \"b c\"]");
    check("CMD [ \"\\u0041\\\"\\\\\" ]", "CMD exec [\"A\\\"\\\\\"]");
    check("RUN []", "RUN exec []");
    check("COPY --link [\"a b\", \"c\", \"/d\"]", "COPY link \"a b\" \"c\" -> \"/d\"");
    check("ADD [\"a b\", \"/d\"]", "ADD \"a b\" -> \"/d\"");
    check("ENTRYPOINT [\"a b\", \"$c\"]", "ENTRYPOINT exec [\"a b\", \"$c\"]");
    check("SHELL [\"a b\", \"'c d'\"]", "SHELL [\"a b\", \"'c d'\"]");
    check("RUN [\"a\\n\\t\\/\", \"'b' \\u00fc\"]", "RUN exec [\"a\\n\\t/\", \"'b' \u{fc}\"]");
    // Other instructions have no such form.
    check("USER [\"a\"]", "USER \"[\\\"a\\\"]\"");
    check("VOLUME [\"/a\", \"/b\"]", "VOLUME \"/a\" \"/b\"");
    check("HEALTHCHECK CMD [\"a\"]", "HEALTHCHECK (0,0,0,0,0) exec [\"a\"]");
}

#[test]
fn what_is_no_json_is_plain_text() {
    // D-039
    check("RUN ['a']", "RUN sh \"['a']\"");
    check("RUN [\"a\"", "RUN sh \"[\\\"a\\\"\"");
    check("CMD [\"a\"] b", "CMD sh \"[\\\"a\\\"] b\"");
    check("RUN [ -e x ] && y", "RUN sh \"[ -e x ] && y\"");
    check("COPY ['a', 'b']", "COPY \"['a',\" -> \"'b']\"");
    check("VOLUME ['a']", "VOLUME \"['a']\"");
    check("ADD [\"a\", \"b\" c", "ADD \"[\\\"a\\\",\" \"\\\"b\\\"\" -> \"c\"");
    check("ENTRYPOINT [\"a\",]", "ENTRYPOINT sh \"[\\\"a\\\",]\"");
    check("HEALTHCHECK CMD [a]", "HEALTHCHECK (0,0,0,0,0) sh \"[a]\"");
}

#[test]
fn arrays_of_other_things_are_refused() {
    // D-040
    for line in [
        "RUN [1]",
        "CMD [null]",
        "COPY [\"a\", [\"b\"]]",
        "ADD [\"a\", 1]",
        "ENTRYPOINT [\"a\", false]",
        "VOLUME [{}]",
        "SHELL [true]",
        "HEALTHCHECK CMD [1]",
    ] {
        refused(line, "arrays must be comprised of strings only");
    }
}

#[test]
fn strings_of_arrays_have_their_places() {
    let source = "FROM x\nCOPY [\"a\\\"b\", \\\n  \"/c\"]\n";
    let parsed = parse(source.as_bytes());
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(&source[copy.sources[0].span.range()], "\"a\\\"b\"");
    assert_eq!(&source[copy.destination.span.range()], "\"/c\"");
}

#[test]
fn blank_separated_words_ignore_quotes() {
    // D-042
    check("COPY \"a b\" /c", "COPY \"\\\"a\" \"b\\\"\" -> \"/c\"");
    check("EXPOSE 80\t $A  \"9 0\"", "EXPOSE \"80\" \"$A\" \"\\\"9\" \"0\\\"\"");
    check("VOLUME /a  /b", "VOLUME \"/a\" \"/b\"");
}

#[test]
fn pairs_honour_quotes_and_escapes() {
    // D-043, D-108
    check(
        "ENV A=\"x y\" B=x\\ y C='a\\' D=\"e\\\"f\"",
        "ENV [A][\"x y\"] [B][x\\ y] [C]['a\\'] [D][\"e\\\"f\"]",
    );
    check("LABEL \"a b\"=\"c\\\n d\"", "LABEL [\"a b\"][\"c d\"]");
    check("ENV A=b\\", "ENV [A][b]");
    check("ENV A=\"b c", "ENV [A][\"b c]");
    check("ARG a=\"x y\" b=x\\ y c='d\\' e", "ARG a=\"x y\" b=x\\ y c='d\\' e");
}

#[test]
fn shell_form_is_verbatim() {
    // D-044, D-045
    check("RUN   a  'b  c' \\d \"$e\"  ", "RUN sh \"a  'b  c' \\\\d \\\"$e\\\"\"");
    check("ENTRYPOINT  a\tb", "ENTRYPOINT sh \"a\\tb\"");
    check("CMD  a \\\n  \"b\"  # c\t", "CMD sh \"a   \\\"b\\\"  # c\"");
    check("HEALTHCHECK  CMD \ta  'b'\\\n c \t", "HEALTHCHECK (0,0,0,0,0) sh \"a  'b' c\"");
    check("WORKDIR \t /a  b \t", "WORKDIR \"/a  b\"");
    check("USER  a ", "USER \"a\"");
    check("MAINTAINER \ta  b ", "MAINTAINER \"a  b\"");
}

#[test]
fn places_of_words_are_exact() {
    let source = "FROM --platform=$P img AS b\nENV a=\"x y\" cc=d\nCOPY --from='b' s1 s2 \\\n  /d\n";
    let parsed = parse(source.as_bytes());
    let stage = &parsed.dockerfile.stages[0];
    let text = |span: castoff_dockerfile::Span| &source[span.range()];
    assert_eq!(text(stage.from.platform.as_ref().unwrap().span), "$P");
    assert_eq!(text(stage.from.image.span), "img");
    assert_eq!(text(stage.from.name.as_ref().unwrap().span), "b");
    let InstructionKind::Env(env) = &stage.instructions[0].kind else { panic!() };
    assert_eq!(text(env.pairs[0].1.span), "\"x y\"");
    assert_eq!(text(env.pairs[1].0.span), "cc");
    let InstructionKind::Copy(copy) = &stage.instructions[1].kind else { panic!() };
    assert_eq!(text(copy.from.as_ref().unwrap().span), "'b'");
    assert_eq!(text(copy.sources[1].span), "s2");
    assert_eq!(text(copy.destination.span), "/d");
}

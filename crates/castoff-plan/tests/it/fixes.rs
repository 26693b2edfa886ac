//! Fixes of findings seen from the planner: the graph, the config and the history stay what they were.

use castoff_dockerfile::fix::fix;
use castoff_dockerfile::lint::LintOptions;

use crate::build::{Build, build, image};

fn fixed(source: &str) -> String {
    let fixed = fix(source.as_bytes(), &LintOptions::default(), &|_| true);
    assert!(!fixed.applied.is_empty(), "there is something to fix in {source}");
    String::from_utf8(fixed.bytes).expect("text stays text")
}

/// Returns a build, with an image for the stages to stand on.
fn planned(source: &str) -> Build {
    build(source).image("base", image(&["HOME=/root"]))
}

#[track_caller]
fn check(source: &str) {
    let (before, after) = (planned(source), planned(&fixed(source)));
    let (old, new) = (before.plan(), after.plan());
    let operations = |plan: &castoff_plan::Plan| -> Vec<castoff_graph::Op> {
        plan.graph.iter().map(|(_, vertex)| vertex.op.clone()).collect()
    };
    assert_eq!(operations(&old), operations(&new), "{source}");
    assert_eq!(old.outputs[0].config, new.outputs[0].config, "{source}");
    assert_eq!(before.history(), after.history(), "{source}");
}

#[test]
fn fixes_change_neither_graph_nor_config() {
    // D-323 to D-326, D-334, D-336, D-342
    check("from base as Build\nRUN a\nCOPY a b\n");
    check(
        "FROM base AS Build\nFROM base\nCOPY --from=Build /a /b\nRUN --mount=type=bind,from=Build,target=/t c\n",
    );
    check("FROM base\nRUN a \\\n\n  # c\n  b\nRUN <<E\n\nx\nE\n");
    check("FROM base\nENV A b\nENV B $A c\nENV C $HOME/$B:d  e\nLABEL l m n\nRUN a\n");
    check("FROM base\nENV A 'b'\nENV B \"b$HOME\"\nLABEL l m\\ n\n");
    check("FROM --platform=$TARGETPLATFORM base\nRUN a\n");
    check("FROM base\nEXPOSE 80/TCP 90-91/Udp\n");
    check("# escape=`\nfrom base\nRUN a `\n\n b\nENV A `\n b\nEnv B c\n");
}

#[test]
fn fixes_of_commands_and_maintainers_say_the_same_in_other_words() {
    // D-328, D-329
    let source = "FROM base\nMAINTAINER Ada <a@example.org>\nCMD server --port 80\n";
    let config = planned(&fixed(source)).plan().outputs.remove(0).config.config;
    assert_eq!(config.cmd, Some(["server", "--port", "80"].map(str::to_owned).to_vec()));
    let labels = config.labels.expect("a label");
    assert_eq!(
        labels.get("org.opencontainers.image.authors").map(String::as_str),
        Some("Ada <a@example.org>")
    );
}

//! What is certain about why a step does not give the same again. What is only likely is not said.

use castoff_graph::{Mount, Op};
use castoff_inspect::diff::Aspect;

use super::Difference;

/// Files that package managers write with the time of what they did, or anew each time.
const LOGS: &[(&str, &str)] = &[
    ("var/log/apt/", "apt"),
    ("var/log/dpkg.log", "dpkg"),
    ("var/log/alternatives.log", "update-alternatives"),
    ("var/log/yum.log", "yum"),
    ("var/log/dnf", "dnf"),
];

/// Returns what is certain, one line each. `epoch` is SOURCE_DATE_EPOCH of the build, and `rewritten` whether times of new
/// layers were set to it.
pub(super) fn hints(differences: &[Difference], op: &Op, epoch: Option<i64>, rewritten: bool) -> Vec<String> {
    let mut hints = Vec::new();
    let mut say = |text: String| {
        if !hints.contains(&text) {
            hints.push(text);
        }
    };
    if differences.iter().any(is_only_time) && !rewritten {
        let what = match epoch {
            Some(_) => "`-o ...,rewrite-timestamp=true`",
            None => "SOURCE_DATE_EPOCH and `-o ...,rewrite-timestamp=true` (or `--timestamp`)",
        };
        let all = if differences.iter().all(is_only_time) { "all that differs is" } else { "some of it is" };
        say(format!("{all} when the files were written: {what} sets that"));
    }
    for difference in differences {
        if !difference.change.aspects.contains(&Aspect::Content) {
            continue;
        }
        let path = String::from_utf8_lossy(&difference.change.path);
        if let Some((_, program)) = LOGS.iter().find(|(start, _)| path.starts_with(start)) {
            say(format!("{program} writes the time into its log: remove the log in the same RUN"));
        }
        match difference.offset {
            // PEP 552: 16 bytes, of which these are the time of the source.
            Some(8..12) if path.ends_with(".pyc") => {
                say("Python writes the time of the source into .pyc files: PYTHONDONTWRITEBYTECODE=1, or \
                 `python -m compileall --invalidation-mode unchecked-hash`"
                    .to_owned())
            }
            // RFC 1952: MTIME.
            Some(4..8) if path.ends_with(".gz") || path.ends_with(".tgz") => {
                say("gzip writes the time into its files: `gzip -n` does not".to_owned());
            }
            _ => {}
        }
    }
    if let Op::Run(run) = op {
        for mount in &run.mounts {
            if let Mount::Cache { target, .. } = mount {
                say(format!(
                    "the step has a cache mount at `{target}`, and what is in it may be another thing each time"
                ));
            }
        }
    }
    hints
}

/// Whether nothing of a path is another but its time.
pub(super) fn is_only_time(difference: &Difference) -> bool {
    difference.change.aspects == [Aspect::Time]
}

#[cfg(test)]
mod tests {
    use castoff_graph::{Op, SourceOp};
    use castoff_inspect::diff::{Aspect, PathChange};

    use super::hints;
    use crate::verify::Difference;

    fn difference(path: &str, aspects: &[Aspect], offset: Option<u64>) -> Difference {
        let change = PathChange {
            path: path.as_bytes().to_vec(),
            before: None,
            after: None,
            aspects: aspects.to_vec(),
        };
        Difference { change, offset, in_image: None }
    }

    #[track_caller]
    fn check(differences: &[Difference], epoch: Option<i64>, rewritten: bool, expected: &[&str]) {
        let said = hints(differences, &Op::Source(SourceOp::Scratch), epoch, rewritten);
        let begins = said.iter().zip(expected).all(|(text, begin)| text.contains(begin));
        assert!(said.len() == expected.len() && begins, "{said:?}");
    }

    #[test]
    fn only_what_is_certain_is_said() {
        let time = || difference("a", &[Aspect::Time], None);
        let content = |path, offset| difference(path, &[Aspect::Content], Some(offset));
        check(
            &[time()],
            None,
            false,
            &["all that differs is when the files were written: SOURCE_DATE_EPOCH"],
        );
        check(&[time()], Some(0), false, &["written: `-o ...,rewrite-timestamp=true`"]);
        check(&[time()], Some(0), true, &[]);
        check(&[time(), content("b", 0)], None, false, &["some of it is"]);
        check(&[content("x/a.pyc", 9)], None, false, &["Python"]);
        check(&[content("x/a.pyc", 40), content("a.gz", 100), content("f", 9)], None, false, &[]);
        check(&[content("a.gz", 4)], None, false, &["gzip -n"]);
        check(
            &[content("var/log/apt/history.log", 1), content("var/log/apt/term.log", 1)],
            None,
            false,
            &["apt"],
        );
    }
}

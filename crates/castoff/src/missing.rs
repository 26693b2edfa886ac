//! Hints for a step that failed: for a source of COPY, ADD or a mount that does not exist (D-194) or that nobody may
//! be asked for, and for a secret in a cache mount.

use castoff_solver::copy::{CopyError, Elsewhere, MissingFacts};
use castoff_solver::fetch::FetchError;
use castoff_solver::{GuardError, StepError};

/// Returns what may help after a step failed.
pub fn hints(error: &StepError) -> Vec<String> {
    match error {
        StepError::Copy(CopyError::NotFound { path, facts }) => of_facts(path, facts),
        StepError::Guard(GuardError::Leak(leak)) if leak.place.contains("cache mount") => {
            let remedy = "`castoff prune --filter type=exec.cachemount`";
            vec![format!("the file is still there and fails the next build, too, until {remedy} removes it")]
        }
        StepError::Fetch(FetchError::Offline(_)) => {
            vec!["one build without --offline puts it into the store".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn of_facts(path: &str, facts: &MissingFacts) -> Vec<String> {
    let MissingFacts { ignored_by_line, ignore_file, other_case, similar, elsewhere } = facts;
    if let Some(line) = ignored_by_line {
        let file = ignore_file.as_deref().unwrap_or("the ignore file");
        return vec![format!("`{path}` exists, but line {line} of {file} excludes it")];
    }
    let mut hints = Vec::new();
    match (other_case, similar) {
        (Some(other), _) => hints.push(format!("`{other}` exists; upper and lower case differ")),
        (None, Some(similar)) => hints.push(format!("did you mean `{similar}`?")),
        (None, None) => {}
    }
    let mut paths = Vec::new();
    for place in elsewhere {
        match place {
            Elsewhere::Context => {
                hints.push(format!("`{path}` is in the build context, which is read without `--from`"));
            }
            Elsewhere::Stage(stage) => {
                hints.push(format!("stage `{stage}` has `{path}`, which is read with `--from={stage}`"));
            }
            Elsewhere::Path(other) => paths.push(format!("`{other}`")),
        }
    }
    if !paths.is_empty() {
        hints.push(format!("that name exists as {}", paths.join(", ")));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(facts: MissingFacts, expected: &[&str]) {
        let error = CopyError::NotFound { path: "/a/b".to_owned(), facts: Box::new(facts) };
        assert_eq!(hints(&StepError::Copy(error)), expected);
    }

    // D-194
    #[test]
    fn what_is_known_of_a_missing_source_is_said() {
        let none = MissingFacts::default();
        check(none.clone(), &[]);
        let ignored = MissingFacts {
            ignored_by_line: Some(3),
            ignore_file: Some(".dockerignore".to_owned()),
            ..none.clone()
        };
        check(ignored, &["`/a/b` exists, but line 3 of .dockerignore excludes it"]);
        let (other, similar) = (Some("/a/B".to_owned()), Some("/a/bb".to_owned()));
        let facts = MissingFacts { other_case: other, similar: similar.clone(), ..none.clone() };
        check(facts, &["`/a/B` exists; upper and lower case differ"]);
        check(MissingFacts { similar, ..none.clone() }, &["did you mean `/a/bb`?"]);
        let elsewhere = vec![Elsewhere::Context, Elsewhere::Stage("one".to_owned())];
        check(
            MissingFacts { elsewhere, ..none.clone() },
            &[
                "`/a/b` is in the build context, which is read without `--from`",
                "stage `one` has `/a/b`, which is read with `--from=one`",
            ],
        );
        let elsewhere = vec![Elsewhere::Path("/x/b".to_owned()), Elsewhere::Path("/y/b".to_owned())];
        check(MissingFacts { elsewhere, ..none }, &["that name exists as `/x/b`, `/y/b`"]);
    }
}

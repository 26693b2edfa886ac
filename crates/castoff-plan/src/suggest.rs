//! "Did you mean": hints that name what was probably meant (D-346).

use castoff_dockerfile::suggest;

/// Returns a hint that names the candidate nearest to a word, if one is near enough to be meant.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    suggest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

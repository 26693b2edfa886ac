//! "Did you mean": hints that name what was probably meant (D-346).

use castoff_dockerfile::suggest;

/// Returns a hint that names the candidate nearest to a word, if one is near enough to be meant.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    suggest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The most stages that are listed.
const LISTED: usize = 12;

/// Returns a hint for a name that is no stage's: the one that was probably meant, or all there are. What
/// can only be an image is no misspelt stage.
pub(crate) fn known_stages<'a>(word: &str, stages: impl Iterator<Item = &'a str>) -> Option<String> {
    let stages: Vec<&str> = stages.collect();
    if let Some(hint) = did_you_mean(word, stages.iter().copied()) {
        return Some(hint);
    }
    if stages.is_empty() || word.contains(['/', ':', '@']) {
        return None;
    }
    let listed: Vec<String> = stages.iter().take(LISTED).map(|stage| format!("`{stage}`")).collect();
    let more = if stages.len() > LISTED { " and more" } else { "" };
    Some(format!("the stages are {}{more}", listed.join(", ")))
}

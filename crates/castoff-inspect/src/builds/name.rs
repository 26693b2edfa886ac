//! How people name a step.

use castoff_store::{BuildRecord, BuildStep, StepAction};

/// Shorter beginnings of keys are none.
const KEY_DIGITS: usize = 4;

/// How a step was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepName {
    /// By its number, its place in its stage or its key.
    Place,
    /// By a piece of its text.
    Text,
}

/// Why no step was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepNameError {
    /// None has this name.
    #[error(
        "no step `{0}` in that build: name it by its number (#5), its place (build 2/4), its key, or a piece of the \
         instruction"
    )]
    Unknown(String),
    /// Several have it.
    #[error("`{name}` means several steps:\n{}", .steps.join("\n"))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their names, with their numbers.
        steps: Vec<String>,
    },
}

/// Finds a step: by the number that progress shows (`#5`), by its place (`build 2/4`), by the beginning of its
/// key, or by a piece of its instruction's text.
///
/// # Errors
/// When there is none or are several.
pub fn find_step(build: &BuildRecord, name: &str) -> Result<(usize, StepName), StepNameError> {
    let text = name.trim();
    let number = text.strip_prefix('#').unwrap_or(text).parse::<u32>().ok();
    let numbered = build.steps.iter().position(|step| number.is_some() && step.number == number);
    if let Some(place) = numbered {
        return Ok((place, StepName::Place));
    }
    if !text.starts_with('#') && !text.is_empty() {
        let place: Vec<&str> = text.trim_matches(['[', ']']).split_whitespace().collect();
        let digits = text.len() >= KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = |step: &BuildStep| digits && step.key.is_some_and(|key| key.hex().starts_with(text));
        for (how, fits) in [
            (StepName::Place, &(|step: &BuildStep| is_place(step, &place)) as &dyn Fn(&BuildStep) -> bool),
            (StepName::Place, &key),
            (StepName::Text, &|step| is_step(step) && instruction(step) == text),
            (StepName::Text, &|step| is_step(step) && instruction(step).contains(text)),
        ] {
            let found: Vec<usize> =
                (0..build.steps.len()).filter(|place| fits(&build.steps[*place])).collect();
            match &found[..] {
                [] => {}
                [place] => return Ok((*place, how)),
                several => {
                    let steps = several.iter().map(|place| shown(&build.steps[*place])).collect();
                    return Err(StepNameError::Ambiguous { name: name.to_owned(), steps });
                }
            }
        }
    }
    Err(StepNameError::Unknown(name.to_owned()))
}

/// Whether something was shown of a step, or would have been had the build come to it.
fn is_step(step: &BuildStep) -> bool {
    let is_instruction =
        matches!(step.action, StepAction::Run { .. } | StepAction::Copy { .. } | StepAction::Workdir { .. });
    step.number.is_some() || is_instruction
}

/// Whether the words are those in the brackets before an instruction, or their last ones: `build 2/4`, `2/4`.
fn is_place(step: &BuildStep, words: &[&str]) -> bool {
    let Some((place, _)) = step.name.strip_prefix('[').and_then(|name| name.split_once(']')) else {
        return false;
    };
    let place: Vec<&str> = place.split_whitespace().collect();
    words.last().is_some_and(|last| last.contains('/')) && place.ends_with(words)
}

/// Returns the text of a step after the brackets with its place.
fn instruction(step: &BuildStep) -> &str {
    match step.name.strip_prefix('[').and_then(|name| name.split_once("] ")) {
        Some((_, instruction)) => instruction,
        None => &step.name,
    }
}

fn shown(step: &BuildStep) -> String {
    let number = step.number.map(|number| format!("#{number} ")).unwrap_or_default();
    format!("  {number}{}", step.name.lines().next().unwrap_or_default())
}

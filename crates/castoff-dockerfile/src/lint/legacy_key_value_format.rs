//! LegacyKeyValueFormat (D-334).

use crate::fix::Edit;
use crate::{InstructionKind, KeyValues, Span};

use super::file::{File, Findings};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    description: "Legacy key/value format with whitespace separator should not be used",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/LegacyKeyValueFormat.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        let (name, pairs) = match &instruction.kind {
            InstructionKind::Env(pairs) => ("ENV", pairs),
            InstructionKind::Label(pairs) => ("LABEL", pairs),
            _ => continue,
        };
        if !pairs.legacy {
            continue;
        }
        let message =
            format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
        findings.add_fixable(place, instruction.span, message, with_equals(file, pairs));
    }
}

/// Returns the edits to the form with `=`.
fn with_equals(file: &File<'_>, pairs: &KeyValues) -> Vec<Edit> {
    let [(name, value)] = &pairs.pairs[..] else { return Vec::new() };
    let between = Span { start: name.span.end, end: value.span.start };
    let blank =
        file.source.get(between.range()).is_some_and(|text| text.trim_matches([' ', '\t']).is_empty());
    if !blank || !file.is_verbatim(name) || !file.is_verbatim(value) || name.value.contains(SPECIAL) {
        return Vec::new();
    }
    // One word reads the same in both forms. Several words need quotes, which would change the meaning of
    // the quotes and escapes among them.
    if !value.value.contains(char::is_whitespace) {
        return vec![Edit::replace(between, "=")];
    }
    if value.value.contains(SPECIAL) {
        return Vec::new();
    }
    let end = Span { start: value.span.end, end: value.span.end };
    vec![Edit::replace(between, "=\""), Edit::replace(end, "\"")]
}

/// Characters that mean something in a word, except the dollar.
const SPECIAL: [char; 4] = ['"', '\'', '\\', '`'];

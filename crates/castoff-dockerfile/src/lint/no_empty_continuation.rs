//! NoEmptyContinuation (D-325).

use crate::Span;
use crate::fix::Edit;
use crate::lines::{Item, Line, Lines, next_item, offset};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    description: "Empty continuation lines will become errors in a future release",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/NoEmptyContinuation.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut places: Vec<Place<'_>> = file.instructions().map(|(place, _)| place).collect();
    places.extend(file.stages().map(|(index, stage)| Place::from(&stage.from, index)));
    places.sort_by_key(|place| place.lines);
    let mut lines = Lines::new(file.source);
    for place in places {
        while lines.position().0 + 1 < place.lines.0 && lines.next().is_some() {}
        let Some(Item::Logical(logical)) = next_item(&mut lines, file.dockerfile.escape) else { continue };
        let [blank, ..] = &logical.blanks[..] else { continue };
        let span = Span { start: offset(blank.start), end: offset(blank.end) };
        let delete =
            |line: &Line| Edit::replace(Span { start: offset(line.start), end: offset(line.next) }, "");
        let fix = logical.blanks.iter().map(delete).collect();
        // BuildKit notices at the last line of the instruction, before its here-documents.
        let last = logical.lines.1;
        let place = Place { lines: (last, last), ..place };
        findings.add_fixable(place, span, "Empty continuation line", fix);
    }
}

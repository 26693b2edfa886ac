//! Logical lines to instructions (section 3 and the syntax parts of sections 6 to 14).

mod command;
mod copy;
mod from;
mod healthcheck;
mod pairs;

use std::ops::Range;

use crate::flags::{FlagKind, Flags, Head, check_flags, split_head};
use crate::parse::NO_TRIGGERS;
use crate::scope::{Scope, shown};
use crate::words::{Json, json, split_blanks};
use crate::{Instruction, InstructionKind, Span, Spanned, suggest};

/// What a logical line is.
#[derive(Debug)]
pub(crate) enum Statement {
    /// FROM.
    From(crate::From),
    /// Anything else.
    Instruction(Instruction),
}

macro_rules! keywords {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// The known keywords (D-030).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Keyword {
            $(#[doc = $name] $variant,)*
        }

        impl Keyword {
            pub(crate) const ALL: &[Keyword] = &[$(Keyword::$variant),*];

            /// Returns the keyword in upper case.
            pub fn name(self) -> &'static str {
                match self {
                    $(Keyword::$variant => $name,)*
                }
            }
        }
    };
}

keywords! {
    Add "ADD", Arg "ARG", Cmd "CMD", Copy "COPY", Entrypoint "ENTRYPOINT", Env "ENV", Expose "EXPOSE",
    From "FROM", Healthcheck "HEALTHCHECK", Label "LABEL", Maintainer "MAINTAINER", OnBuild "ONBUILD",
    Run "RUN", Shell "SHELL", StopSignal "STOPSIGNAL", User "USER", Volume "VOLUME", Workdir "WORKDIR",
}

impl Keyword {
    /// Recognises a keyword in any case.
    pub fn parse(text: &str) -> Option<Keyword> {
        Keyword::ALL.iter().copied().find(|keyword| keyword.name().eq_ignore_ascii_case(text))
    }
}

/// Parses a logical line. Returns `None` after reporting errors that leave nothing to keep.
pub(crate) fn statement(scope: &mut Scope<'_>, head: Head, forbidden: &[Keyword]) -> Option<Statement> {
    let written = scope.text(head.keyword.clone());
    let Some(keyword) = Keyword::parse(written) else {
        unknown_keyword(scope, &head, written);
        return None;
    };
    if forbidden.contains(&keyword) {
        let message = match keyword {
            Keyword::OnBuild => "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
            other => format!("{} isn't allowed as an ONBUILD trigger", other.name()),
        };
        scope.error(head.keyword, message);
        return None;
    }
    let span = Span { start: scope.span(head.keyword.clone()).start, end: scope.end };
    if keyword == Keyword::From {
        return Some(Statement::From(from::parse(scope, head, span)));
    }
    let kind = kind(scope, keyword, &head)?;
    let ignored_flags = match kind {
        InstructionKind::Arg(_)
        | InstructionKind::StopSignal(_)
        | InstructionKind::Healthcheck(crate::Healthcheck::None) => {
            head.flags.iter().map(|flag| scope.word(flag.range())).collect()
        }
        _ => Vec::new(),
    };
    let mut text = scope.text(head.rest.clone()).to_owned();
    for found in &scope.heredocs {
        text.push('\n');
        text.push_str(&found.heredoc.raw);
    }
    let keyword = scope.word(head.keyword);
    Some(Statement::Instruction(Instruction {
        span,
        lines: scope.lines,
        keyword,
        comments: Vec::new(),
        text,
        ignored_flags,
        kind,
    }))
}

fn unknown_keyword(scope: &mut Scope<'_>, head: &Head, written: &str) {
    let nearest = suggest(written, Keyword::ALL.iter().map(|keyword| keyword.name()));
    let guess = nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
    let message = format!("unknown instruction: {}{guess}", shown(written));
    scope.error(head.keyword.clone(), message);
}

fn kind(scope: &mut Scope<'_>, keyword: Keyword, head: &Head) -> Option<InstructionKind> {
    match keyword {
        Keyword::Add => copy::parse_add(scope, head).map(InstructionKind::Add),
        Keyword::Arg => pairs::parse_arg(scope, head).map(InstructionKind::Arg),
        Keyword::Cmd => plain(scope, head, |scope| command::parse(scope, head).map(InstructionKind::Cmd)),
        Keyword::Copy => copy::parse_copy(scope, head).map(InstructionKind::Copy),
        Keyword::Entrypoint => {
            plain(scope, head, |scope| command::parse(scope, head).map(InstructionKind::Entrypoint))
        }
        Keyword::Env => {
            plain(scope, head, |scope| pairs::parse_pairs(scope, keyword, head).map(InstructionKind::Env))
        }
        Keyword::Expose => plain(scope, head, |scope| {
            let words = split_blanks(&scope.joined.text, head.arguments.clone());
            let words = at_least_one(scope, keyword, head, words)?;
            Some(InstructionKind::Expose(words.into_iter().map(|range| scope.word(range)).collect()))
        }),
        // `statement` has handled it.
        Keyword::From => None,
        Keyword::Healthcheck => healthcheck::parse(scope, head).map(InstructionKind::Healthcheck),
        Keyword::Label => {
            plain(scope, head, |scope| pairs::parse_pairs(scope, keyword, head).map(InstructionKind::Label))
        }
        Keyword::Maintainer => {
            plain(scope, head, |scope| exactly_one(scope, keyword, head).map(InstructionKind::Maintainer))
        }
        Keyword::OnBuild => plain(scope, head, |scope| on_build(scope, head)),
        Keyword::Run => command::parse_run(scope, head).map(InstructionKind::Run),
        Keyword::Shell => {
            plain(scope, head, |scope| command::parse_shell(scope, head).map(InstructionKind::Shell))
        }
        Keyword::StopSignal => exactly_one(scope, keyword, head).map(InstructionKind::StopSignal),
        Keyword::User => {
            plain(scope, head, |scope| exactly_one(scope, keyword, head).map(InstructionKind::User))
        }
        Keyword::Volume => plain(scope, head, |scope| parse_volume(scope, head).map(InstructionKind::Volume)),
        Keyword::Workdir => {
            plain(scope, head, |scope| exactly_one(scope, keyword, head).map(InstructionKind::Workdir))
        }
    }
}

/// Parses an instruction that has no flags (D-037); both its flags and its arguments are checked.
fn plain<'a, T>(
    scope: &mut Scope<'a>,
    head: &Head,
    parse: impl FnOnce(&mut Scope<'a>) -> Option<T>,
) -> Option<T> {
    flagged(scope, head, &[], |scope, _| parse(scope))
}

/// Parses an instruction with flags; both its flags and its arguments are checked.
fn flagged<'a, T>(
    scope: &mut Scope<'a>,
    head: &Head,
    allowed: &[(&'static str, FlagKind)],
    parse: impl FnOnce(&mut Scope<'a>, &Flags) -> Option<T>,
) -> Option<T> {
    let flags = check_flags(scope, &head.flags, allowed);
    if head.is_unbalanced() {
        return None;
    }
    let parsed = parse(scope, flags.as_ref().unwrap_or(&Flags::default()));
    flags.and(parsed)
}

/// Returns the place to point at when something is missing: the keyword.
fn whole(head: &Head) -> Range<usize> {
    head.keyword.clone()
}

fn at_least_one<T>(scope: &mut Scope<'_>, keyword: Keyword, head: &Head, items: Vec<T>) -> Option<Vec<T>> {
    if items.is_empty() {
        scope.error(whole(head), format!("{} requires at least one argument", keyword.name()));
        return None;
    }
    Some(items)
}

/// Takes the rest of the line as one argument, blanks included.
fn exactly_one(scope: &mut Scope<'_>, keyword: Keyword, head: &Head) -> Option<Spanned<String>> {
    if head.arguments.is_empty() {
        scope.error(whole(head), format!("{} requires exactly one argument", keyword.name()));
        return None;
    }
    Some(scope.word(head.arguments.clone()))
}

/// Reads arguments in JSON form, or split at blanks. Returns `None` after reporting a mixed array.
fn list(scope: &mut Scope<'_>, range: Range<usize>) -> Option<Vec<Spanned<String>>> {
    match json(&scope.joined.text, range.clone()) {
        Json::Strings(strings) => Some(
            strings.into_iter().map(|(value, range)| Spanned { value, span: scope.span(range) }).collect(),
        ),
        Json::Mixed => {
            mixed_array(scope, range);
            None
        }
        Json::Other => {
            let words = split_blanks(&scope.joined.text, range);
            Some(words.into_iter().map(|range| scope.word(range)).collect())
        }
    }
}

fn mixed_array(scope: &mut Scope<'_>, range: Range<usize>) {
    scope.error(range, "when using JSON array syntax, arrays must be comprised of strings only");
}

fn parse_volume(scope: &mut Scope<'_>, head: &Head) -> Option<Vec<Spanned<String>>> {
    let mut volumes = list(scope, head.arguments.clone())?;
    for volume in &mut volumes {
        volume.value = volume.value.trim().to_owned();
    }
    if volumes.iter().any(|volume| volume.value.is_empty()) {
        scope.error(head.arguments.clone(), "VOLUME specified can not be an empty string");
        return None;
    }
    at_least_one(scope, Keyword::Volume, head, volumes)
}

/// The trigger is parsed so that its errors are found here and not in a build far away.
fn on_build(scope: &mut Scope<'_>, head: &Head) -> Option<InstructionKind> {
    if head.arguments.is_empty() {
        scope.error(whole(head), "ONBUILD requires at least one argument");
        return None;
    }
    let inner = split_head(&scope.joined.text, head.arguments.clone(), scope.escape);
    match statement(scope, inner, NO_TRIGGERS)? {
        Statement::Instruction(instruction) => Some(InstructionKind::OnBuild(Box::new(instruction))),
        Statement::From(_) => None,
    }
}

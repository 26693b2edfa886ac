//! Whole files: logical lines to stages.

use crate::directive::read_directives;
use crate::flags::{Head, split_head};
use crate::heredoc::{Found, read_body, tokens};
use crate::instruction::{self, Keyword, Statement};
use crate::lines::{Item, Joined, Lines, Logical, next_item, offset};
use crate::scope::{MOST, Scope};
use crate::words::{Json, json, trim};
use crate::{Diagnostic, Dockerfile, Instruction, Severity, Span, Stage, suggest};

/// Longest file that is read, in bytes. BuildKit refuses files long before this.
const LONGEST: usize = 16 << 20;

/// What is wrong with a here-document that takes the rest of the file.
const UNTERMINATED: &str = "unterminated heredoc";

/// What a trigger cannot be (D-267).
pub(crate) const NO_TRIGGERS: &[Keyword] = &[Keyword::From, Keyword::OnBuild, Keyword::Maintainer];

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The tree. It lacks the instructions that were in error.
    pub dockerfile: Dockerfile,
    /// The text that spans refer to. It has as many bytes as the file: each byte that is not part of
    /// valid UTF-8 is a question mark here, and an error unless it stands in a comment.
    pub source: String,
    /// Findings, by place in the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether more may be missing in the tree than [`Stage::holes`] say: a FROM, an argument of all stages, or
    /// what a here-document without an end has swallowed.
    pub torn: bool,
}

impl Parsed {
    /// Whether a finding stops the build.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Returns the findings that stop the build.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Parses a file. Never fails: what is wrong is in [`Parsed::diagnostics`], and every error of the
/// file is found in one run.
pub fn parse(source: &[u8]) -> Parsed {
    if let Some(message) = unreadable(source) {
        let dockerfile = empty_dockerfile('\\');
        let diagnostics = vec![whole_file(message, None)];
        return Parsed { dockerfile, source: String::new(), diagnostics, torn: true };
    }
    let (text, invalid) = decode(source);
    let directives = read_directives(&text);
    let mut file = File {
        dockerfile: Dockerfile {
            syntax: directives.syntax,
            check: directives.check,
            ..empty_dockerfile(directives.escape)
        },
        invalid,
        torn: directives.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error),
        diagnostics: directives.diagnostics,
        instructions: 0,
        homeless: false,
    };
    file.read(&text, directives.last_line);
    file.finish();
    let File { dockerfile, mut diagnostics, torn, .. } = file;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    Parsed { dockerfile, source: text, diagnostics, torn }
}

/// Parses the text of one trigger as ONBUILD stores it (D-266), here-document bodies included. Spans
/// are offsets in `text`.
pub fn parse_trigger(text: &str, escape: char) -> Result<Instruction, Vec<Diagnostic>> {
    if text.len() > LONGEST {
        return Err(vec![whole_file("trigger is too long", None)]);
    }
    let mut lines = Lines::at(text, 0, 0);
    let mut diagnostics = Vec::new();
    let mut found = None;
    while let Some(item) = next_item(&mut lines, escape) {
        let Item::Logical(logical) = item else { continue };
        if found.is_some() {
            return Err(vec![whole_file("trigger holds more than one instruction", None)]);
        }
        found = Some(statement(&logical, &mut lines, escape, NO_TRIGGERS, &mut diagnostics));
    }
    match found {
        None => Err(vec![whole_file("trigger holds no instruction", None)]),
        Some(Some(Statement::Instruction(instruction)))
            if diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Error) =>
        {
            Ok(instruction)
        }
        Some(_) => Err(diagnostics),
    }
}

struct File {
    dockerfile: Dockerfile,
    /// Places of bytes that are not text, ascending.
    invalid: Vec<usize>,
    diagnostics: Vec<Diagnostic>,
    /// Instructions seen, sound or not.
    instructions: usize,
    /// Whether an instruction outside every stage was reported.
    homeless: bool,
    /// [`Parsed::torn`].
    torn: bool,
}

impl File {
    fn read(&mut self, text: &str, last_directive: u32) {
        let escape = self.dockerfile.escape;
        let mut lines = Lines::new(text);
        let mut comments = Vec::new();
        while let Some(item) = next_item(&mut lines, escape) {
            match item {
                Item::Blank => {}
                // A bare `#` discards what was collected, a blank line does not (D-016).
                Item::Comment(range) if range.is_empty() => comments.clear(),
                Item::Comment(range) => {
                    if lines.position().0 > last_directive {
                        comments.push(text[range].to_owned());
                    }
                }
                Item::Logical(logical) => {
                    let comments = std::mem::take(&mut comments);
                    if logical.joined.text.trim().is_empty() {
                        continue;
                    }
                    self.instructions += 1;
                    let before = self.diagnostics.len();
                    let statement = statement(&logical, &mut lines, escape, &[], &mut self.diagnostics);
                    self.check_encoding(&logical, &lines);
                    if let Some(statement) = statement {
                        self.add(statement, comments);
                    }
                    self.tear(&logical, before);
                    if self.diagnostics.len() >= MOST {
                        self.torn = true;
                        break;
                    }
                }
            }
        }
    }

    /// Notes what an instruction leaves that had errors, those after the first ones.
    fn tear(&mut self, logical: &Logical, before: usize) {
        let is_error = |diagnostic: &&Diagnostic| diagnostic.severity == Severity::Error;
        let errors = || self.diagnostics[before..].iter().filter(is_error);
        let Some(start) = errors().map(|error| error.span.start).min() else { return };
        let has_swallowed = errors().any(|error| error.message == UNTERMINATED);
        let joined = &logical.joined;
        let head = split_head(&joined.text, trim(&joined.text, 0..joined.text.len()), self.dockerfile.escape);
        let written = &joined.text[head.keyword];
        let keyword = Keyword::parse(written).map(Keyword::name);
        let meant = keyword.or_else(|| suggest(written, Keyword::ALL.iter().map(|keyword| keyword.name())));
        match self.dockerfile.stages.last_mut() {
            Some(stage) if meant != Some("FROM") && !has_swallowed => stage.holes.push(start),
            _ => self.torn = true,
        }
    }

    fn add(&mut self, statement: Statement, comments: Vec<String>) {
        match (statement, self.dockerfile.stages.last_mut()) {
            (Statement::From(mut from), _) => {
                from.comments = comments;
                self.dockerfile.stages.push(Stage { from, instructions: Vec::new(), holes: Vec::new() });
            }
            (Statement::Instruction(mut instruction), Some(stage)) => {
                instruction.comments = comments;
                stage.instructions.push(instruction);
            }
            (Statement::Instruction(mut instruction), None) => {
                instruction.comments = comments;
                if matches!(instruction.kind, crate::InstructionKind::Arg(_)) {
                    self.dockerfile.global_args.push(instruction);
                } else if !self.homeless {
                    // Once is enough: a missing FROM would make every line an error (D-085).
                    self.homeless = true;
                    self.diagnostics.push(Diagnostic {
                        severity: Severity::Error,
                        rule: None,
                        message: "no build stage in current context".to_owned(),
                        span: instruction.keyword.span,
                        lines: instruction.lines,
                        hints: vec!["only ARG may stand before the first FROM".to_owned()],
                    });
                }
            }
        }
    }

    /// Reports the first byte of an instruction that is not text. Comments may hold anything.
    fn check_encoding(&mut self, logical: &Logical, lines: &Lines<'_>) {
        let joined = &logical.joined;
        let (number, end) = lines.position();
        let start = joined.span(0..0).start as usize;
        let from = self.invalid.partition_point(|place| *place < start);
        let inside = self.invalid[from..].iter().copied().take_while(|place| *place < end);
        let mut wrong = inside.filter(|place| *place >= joined.end() || joined.contains(*place));
        let Some(place) = wrong.next() else { return };
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            rule: None,
            message: "not valid UTF-8".to_owned(),
            span: Span { start: offset(place), end: offset(place + 1) },
            lines: (logical.lines.0, number),
            hints: vec!["save the file as UTF-8".to_owned()],
        });
    }

    fn finish(&mut self) {
        self.torn |= self.dockerfile.stages.is_empty();
        if self.instructions == 0 {
            let message = "file with no instructions";
            self.diagnostics.push(whole_file(message, Some("the first instruction is usually FROM")));
        } else if self.dockerfile.stages.is_empty()
            && self.diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Error)
        {
            let hint = "a FROM instruction begins a stage";
            self.diagnostics.push(whole_file("no stages to build", Some(hint)));
        }
    }
}

/// Parses one logical line, reading its here-documents from the lines that follow.
fn statement(
    logical: &Logical,
    lines: &mut Lines<'_>,
    escape: char,
    forbidden: &[Keyword],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Statement> {
    let joined = &logical.joined;
    let range = trim(&joined.text, 0..joined.text.len());
    let head = split_head(&joined.text, range.clone(), escape);
    let mut scope = Scope {
        joined,
        escape,
        lines: logical.lines,
        heredocs: Vec::new(),
        end: joined.span(range.clone()).end,
        diagnostics,
    };
    let sound = read_heredocs(&mut scope, &head, lines);
    let statement = instruction::statement(&mut scope, head, forbidden);
    if sound { statement } else { None }
}

/// Reads the bodies of the here-documents of an instruction. Returns `false` after reporting one that
/// does not end.
fn read_heredocs(scope: &mut Scope<'_>, head: &Head, lines: &mut Lines<'_>) -> bool {
    let joined: &Joined = scope.joined;
    for token in tokens_of(joined, head, scope.escape) {
        let range = token.range.clone();
        let delimiter = token.delimiter.clone();
        let found: Option<Found> = read_body(token, joined, lines);
        let consumed = consumed(lines, scope.lines.1);
        scope.lines.1 = consumed.0;
        scope.end = offset(consumed.1);
        let Some(found) = found else {
            let delimiter = crate::scope::shown(&delimiter);
            let hint = format!("a line that holds exactly `{delimiter}` must follow");
            scope.error_with_hint(range, UNTERMINATED, &hint);
            return false;
        };
        scope.heredocs.push(found);
    }
    true
}

/// Returns the number of the last line that was read, and one past its last byte.
fn consumed(lines: &Lines<'_>, at_least: u32) -> (u32, usize) {
    let (number, position) = lines.position();
    let end = lines.text()[..position].trim_end_matches(['\r', '\n']).len();
    (number.max(at_least), end)
}

/// Only RUN, COPY, ADD and triggers of them have here-documents, and never in JSON form (D-046).
fn tokens_of(joined: &Joined, head: &Head, escape: char) -> Vec<crate::heredoc::Token> {
    let text = &joined.text;
    match Keyword::parse(&text[head.keyword.clone()]) {
        Some(Keyword::Run | Keyword::Copy | Keyword::Add) => match json(text, head.arguments.clone()) {
            Json::Strings(_) | Json::Mixed => Vec::new(),
            Json::Other => tokens(text, head.arguments.clone()),
        },
        Some(Keyword::OnBuild) => {
            let inner = split_head(text, head.arguments.clone(), escape);
            match Keyword::parse(&text[inner.keyword.clone()]) {
                Some(Keyword::OnBuild) | None => Vec::new(),
                Some(_) => tokens_of(joined, &inner, escape),
            }
        }
        Some(_) | None => Vec::new(),
    }
}

fn unreadable(source: &[u8]) -> Option<&'static str> {
    if source.is_empty() {
        return Some("the Dockerfile cannot be empty");
    }
    if source.len() > LONGEST {
        return Some("the Dockerfile is too large");
    }
    if source.starts_with(&[0xff, 0xfe]) || source.starts_with(&[0xfe, 0xff]) {
        return Some("the Dockerfile is UTF-16; only UTF-8 is understood");
    }
    None
}

/// Decodes a text so that offsets stay; also returns the places of bytes that are not text.
fn decode(source: &[u8]) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(source.len());
    let mut invalid = Vec::new();
    for chunk in source.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            invalid.push(text.len());
            text.push('?');
        }
    }
    (text, invalid)
}

fn empty_dockerfile(escape: char) -> Dockerfile {
    Dockerfile { escape, syntax: None, check: None, global_args: Vec::new(), stages: Vec::new() }
}

fn whole_file(message: &str, hint: Option<&str>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule: None,
        message: message.to_owned(),
        span: Span::default(),
        lines: (1, 1),
        hints: hint.map(str::to_owned).into_iter().collect(),
    }
}

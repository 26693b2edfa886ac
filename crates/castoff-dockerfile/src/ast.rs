//! The syntax tree: what was written, and where. Nothing here is expanded.

use std::ops::Range;

/// A range of byte offsets in the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the range for slicing the source text.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place. A word broken over continued lines spans them all.
    pub span: Span,
}

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character of the file: a backslash or a backtick (D-021).
    pub escape: char,
    /// First word of `# syntax=`, when present, also in the style of other files (D-024).
    pub syntax: Option<Spanned<String>>,
    /// First word of `# check=`, when present.
    pub check: Option<Spanned<String>>,
    /// ARG instructions before the first FROM.
    pub global_args: Vec<Instruction>,
    /// The stages in order.
    pub stages: Vec<Stage>,
}

/// A FROM and the instructions after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The FROM line.
    pub from: From,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
    /// Offsets of errors of instructions, ascending; those instructions are missing or not whole.
    pub holes: Vec<u32>,
}

/// A FROM line (D-112).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// Place of the whole instruction.
    pub span: Span,
    /// First and last line, from 1.
    pub lines: (u32, u32),
    /// The keyword as written.
    pub keyword: Spanned<String>,
    /// The image word, unexpanded.
    pub image: Spanned<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<Spanned<String>>,
    /// The stage name as written, its case kept.
    pub name: Option<Spanned<String>>,
    /// The `AS` keyword as written.
    pub as_keyword: Option<Spanned<String>>,
    /// Comment lines right above (D-016), without `#` and blanks.
    pub comments: Vec<String>,
}

impl From {
    /// Returns what the comments above say about the stage (D-016).
    pub fn description(&self) -> Option<&str> {
        describe(&self.comments, &self.name.as_ref()?.value)
    }
}

impl Instruction {
    /// Returns what the comments above say about `name`, one that an ARG declares (D-016).
    pub fn description(&self, name: &str) -> Option<&str> {
        describe(&self.comments, name)
    }
}

fn describe<'a>(comments: &'a [String], name: &str) -> Option<&'a str> {
    comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '))
}

/// An instruction other than FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Place of the whole instruction, here-documents included.
    pub span: Span,
    /// First and last line, from 1, here-documents included.
    pub lines: (u32, u32),
    /// The keyword as written.
    pub keyword: Spanned<String>,
    /// Comment lines right above (D-016), without `#` and blanks.
    pub comments: Vec<String>,
    /// The text after the keyword, continuations joined, here-document bodies appended as written;
    /// what ONBUILD stores (D-266) and what step names show.
    pub text: String,
    /// Flags that it does not have and that are dropped (D-037).
    pub ignored_flags: Vec<Spanned<String>>,
    /// What it is.
    pub kind: InstructionKind,
}

/// The closed set of instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// ADD.
    Add(Copy),
    /// ARG.
    Arg(Vec<ArgDeclaration>),
    /// CMD.
    Cmd(Command),
    /// COPY.
    Copy(Copy),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// ENV.
    Env(KeyValues),
    /// EXPOSE: words as written.
    Expose(Vec<Spanned<String>>),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// LABEL.
    Label(KeyValues),
    /// MAINTAINER.
    Maintainer(Spanned<String>),
    /// ONBUILD: the trigger, parsed, and its raw text in `Instruction::text`.
    OnBuild(Box<Instruction>),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    StopSignal(Spanned<String>),
    /// USER.
    User(Spanned<String>),
    /// VOLUME.
    Volume(Vec<Spanned<String>>),
    /// WORKDIR.
    Workdir(Spanned<String>),
}

/// A command in shell or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell, verbatim after continuation joining (D-044).
    Shell(Spanned<String>),
    /// Arguments.
    Exec(Vec<String>),
}

/// COPY or ADD. Flags that do not belong to the instruction are refused by the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Sources that are paths, URLs or references, unexpanded, in order.
    pub sources: Vec<Spanned<String>>,
    /// Sources that are here-documents; copied after `sources` (D-053).
    pub heredocs: Vec<Heredoc>,
    /// Destination, unexpanded.
    pub destination: Spanned<String>,
    /// `--from`, unexpanded.
    pub from: Option<Spanned<String>>,
    /// `--chown`, unexpanded.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Spanned<String>>,
    /// `--checksum` of ADD, unexpanded.
    pub checksum: Option<Spanned<String>>,
    /// `--keep-git-dir` of ADD.
    pub keep_git_dir: Option<bool>,
    /// `--unpack` of ADD.
    pub unpack: Option<bool>,
}

/// A here-document (section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// Descriptor number before `<<`, if written.
    pub descriptor: Option<u32>,
    /// The delimiter after quote removal; the file name in COPY and ADD.
    pub delimiter: String,
    /// Whether the body is expanded where the instruction expands bodies (no part was quoted).
    pub expand: bool,
    /// Whether leading tabs were removed (`<<-`).
    pub strip_tabs: bool,
    /// The body, tabs removed where asked; CRLF kept.
    pub body: String,
    /// The body as written and then the delimiter, without a line end: what follows the command line
    /// and a newline when a shell is to read it (D-057).
    pub raw: String,
    /// Place of the `<<` token.
    pub span: Span,
}

/// A name and its default (D-084).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Name.
    pub name: Spanned<String>,
    /// Default, unexpanded, quotes kept.
    pub default: Option<Spanned<String>>,
}

/// Pairs of ENV and LABEL, unexpanded, quotes kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValues {
    /// Pairs in order.
    pub pairs: Vec<(Spanned<String>, Spanned<String>)>,
    /// Whether the form without `=` was used (D-106).
    pub legacy: bool,
}

/// HEALTHCHECK; durations are nanoseconds, zero means inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// HEALTHCHECK NONE.
    None,
    /// HEALTHCHECK CMD.
    Command {
        /// What is run.
        command: Command,
        /// `--interval`.
        interval: i64,
        /// `--timeout`.
        timeout: i64,
        /// `--start-period`.
        start_period: i64,
        /// `--start-interval`.
        start_interval: i64,
        /// `--retries`.
        retries: i64,
    },
}

/// RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command. With here-documents in it, the text as written on the instruction's lines.
    pub command: Command,
    /// Here-documents in order.
    pub heredocs: Vec<Heredoc>,
    /// Whether the whole command is one here-document token (D-056).
    pub only_heredoc: bool,
    /// `--mount`s in order, each as its fields.
    pub mounts: Vec<MountFlag>,
    /// `--network` as written.
    pub network: Option<Spanned<String>>,
    /// `--security` as written.
    pub security: Option<Spanned<String>>,
    /// `--device`s as written.
    pub devices: Vec<Spanned<String>>,
}

/// A `--mount` flag split into its CSV fields (D-146), unexpanded. The planner gives them meaning,
/// because values may hold variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// Place of the flag's value.
    pub span: Span,
    /// `key`, lower case, and value; a bare word has no value.
    pub fields: Vec<(String, Option<String>)>,
}

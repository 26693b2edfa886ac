//! COPY and ADD (section 10, the part that needs no files).

use castoff_dockerfile::expand::{ExpandOptions, expand};
use castoff_dockerfile::{Copy, Heredoc, Spanned};
use castoff_graph::remote::{SourceKind, redacted};
use castoff_graph::{CopyKind, CopyOp, CopySource, Op, Owner};

use crate::chmod;
use crate::paths;
use crate::place::{Checked, Place};
use crate::stage::{FromFlag, SourceName};

use super::{Here, StageLowering, from};

/// Which of the two instructions it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    Add,
    Copy,
}

/// A source that is no here-document, expanded.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) kind: SourceKind,
    pub(super) place: Place,
}

impl StageLowering<'_, '_> {
    pub(super) fn copy(&mut self, here: Here<'_>, copy: &Copy, flavour: Flavour) -> Checked<()> {
        let mut words = Vec::new();
        for source in &copy.sources {
            let text = self.word(here, source)?;
            let word = Word { kind: SourceKind::of(&text), text, place: here.at(source) };
            check_source(&word, flavour)?;
            words.push(word);
        }
        let written = self.word(here, &copy.destination)?;
        let chown = self.flag(here, copy.chown.as_ref())?;
        let owner = match &chown {
            Some(chown) => Some(owner(&chown.value, copy.link, here.at(chown))?),
            None => None,
        };
        let mode = self.flag(here, copy.chmod.as_ref())?;
        let chmod = match &mode {
            Some(mode) => Some(chmod::parse(&mode.value).map_err(|message| here.at(mode).error(message))?),
            None => None,
        };
        let mut parts = vec![match flavour {
            Flavour::Copy => "COPY".to_owned(),
            Flavour::Add => "ADD".to_owned(),
        }];
        parts.extend(copy.parents.then(|| "--parents".to_owned()));
        parts.extend(chown.map(|chown| format!("--chown={}", chown.value)));
        parts.extend(mode.map(|mode| format!("--chmod={}", mode.value)));
        parts.extend(words.iter().map(|word| redacted(&word.text)));
        parts.extend(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.delimiter)));
        parts.push(written.clone());
        let destination = paths::destination(self.workdir_path(), &written);
        let mut sources = self.sources(here, copy, &words, &destination)?;
        for heredoc in &copy.heredocs {
            sources.push(self.inline(here, heredoc)?);
        }
        let mark = if copy.link { "LINK " } else { "" };
        let name = redacted(&self.step_name(here, mark, "", &[]));
        let op = Op::Copy(CopyOp {
            parent: self.state.vertex,
            kind: match flavour {
                Flavour::Copy => CopyKind::Copy,
                Flavour::Add => CopyKind::Add { unpack: copy.unpack },
            },
            sources,
            destination,
            owner,
            chmod,
            link: copy.link,
            parents: copy.parents,
            exclude: copy.exclude.iter().map(|pattern| pattern.value.clone()).collect(),
        });
        let vertex = self.step(here, op, name);
        // Expanded words, and only the flags that BuildKit shows (D-298).
        self.record(format!("{} # buildkit", parts.join(" ")), Some(vertex));
        Ok(())
    }

    /// Returns the sources that are no here-documents: paths of the context or of what `--from` names, and
    /// what is fetched.
    fn sources(
        &mut self,
        here: Here<'_>,
        copy: &Copy,
        words: &[Word],
        destination: &str,
    ) -> Checked<Vec<CopySource>> {
        let remote = self.remote_flags(here, copy, words)?;
        // A COPY of here-documents alone reads no context, but its `--from` must still make sense.
        let mut files = match copy.from.as_ref().filter(|word| !word.value.is_empty()) {
            Some(word) => {
                let place = here.at(word);
                Some(self.source_vertex(&SourceName { word: &word.value, flag: FromFlag::Copy, place })?)
            }
            None => None,
        };
        let mut sources = Vec::with_capacity(words.len());
        for word in words {
            sources.push(match word.kind {
                SourceKind::Path => {
                    let from = *files.get_or_insert_with(|| from::context_vertex(self.plan));
                    let pattern = if word.text.is_empty() { "." } else { &word.text };
                    CopySource::Files { from, pattern: pattern.to_owned() }
                }
                SourceKind::Url => self.url(here, word, &remote, destination)?,
                SourceKind::Git => self.git(here, word, &remote)?,
            });
        }
        Ok(sources)
    }

    /// Returns a here-document as a source. Its body is expanded with backslash as the escape, whatever
    /// the file's escape is (D-022, D-054).
    fn inline(&mut self, here: Here<'_>, heredoc: &Heredoc) -> Checked<CopySource> {
        let place = here.trigger.unwrap_or_else(|| Place::new(heredoc.span, here.instruction.lines));
        let name = heredoc.delimiter.clone();
        if name.contains('/') || matches!(name.as_str(), "" | "." | "..") {
            return Err(place.error(format!("the delimiter `{name}` cannot be the name of a file")));
        }
        let mut body = heredoc.body.clone();
        if heredoc.expand {
            let variable = |name: &str| self.variable(name);
            let options = ExpandOptions { escape: '\\', variable: &variable, quotes: false };
            let expanded = expand(&body, &options).map_err(|error| place.error(error.to_string()))?;
            self.undefined(here, place, &expanded.unset);
            self.plan.budget.spend(expanded.text.len(), place)?;
            body = expanded.text;
        }
        Ok(CopySource::Inline { name, content: body.into_bytes() })
    }

    /// Expands a flag; one that expands to nothing is as if not given.
    pub(super) fn flag(
        &mut self,
        here: Here<'_>,
        word: Option<&Spanned<String>>,
    ) -> Checked<Option<Spanned<String>>> {
        let Some(word) = word else { return Ok(None) };
        let value = self.word(here, word)?;
        Ok((!value.is_empty()).then_some(Spanned { value, span: word.span }))
    }
}

/// Parses `--chown`. Names cannot be looked up for a layer that does not know its image (D-220).
fn owner(text: &str, link: bool, place: Place) -> Checked<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if group.is_some_and(|group| group.contains(':')) {
        return Err(place.error(format!("invalid chown string: {text}")));
    }
    let needs_image = |name: &str| name != "root" && !name.bytes().all(|byte| byte.is_ascii_digit());
    if link && (needs_image(user) || group.is_some_and(needs_image)) {
        return Err(place.error_with_hint(
            format!("--chown={text} names an owner that --link cannot look up"),
            Some("use numbers, or drop --link".to_owned()),
        ));
    }
    Ok(Owner { user: user.to_owned(), group: group.map(str::to_owned) })
}

/// Refuses sources that COPY cannot have (D-230).
fn check_source(word: &Word, flavour: Flavour) -> Checked<()> {
    let message = match (word.kind, flavour) {
        (SourceKind::Path, _) | (_, Flavour::Add) => return Ok(()),
        (SourceKind::Url, Flavour::Copy) => "source can't be a URL for COPY",
        (SourceKind::Git, Flavour::Copy) => "source can't be a git ref for COPY",
    };
    Err(word.place.error_with_hint(message, Some("ADD fetches it".to_owned())))
}

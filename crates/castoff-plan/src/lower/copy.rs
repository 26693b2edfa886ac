//! COPY and ADD (section 10, the part that needs no files).

use castoff_dockerfile::expand::{ExpandOptions, expand};
use castoff_dockerfile::{Copy, Heredoc, Spanned};
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

/// What an ADD source is (D-230).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    Path,
    Url,
    Git,
}

impl StageLowering<'_, '_> {
    pub(super) fn copy(&mut self, here: Here<'_>, copy: &Copy, flavour: Flavour) -> Checked<()> {
        let mut words = Vec::new();
        for source in &copy.sources {
            let word = self.word(here, source)?;
            check_source(&word, flavour, here.at(source))?;
            words.push(word);
        }
        if let Some(checksum) = &copy.checksum {
            let place = here.at(checksum);
            return Err(place.error(match copy.sources.len() {
                1 => "checksum requires HTTP(S) or Git sources",
                _ => "checksum can't be specified for multiple sources",
            }));
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
        parts.extend(words.iter().cloned());
        parts.extend(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.delimiter)));
        parts.push(written.clone());
        let mut sources = self.files(here, copy, &words)?;
        for heredoc in &copy.heredocs {
            sources.push(self.inline(here, heredoc)?);
        }
        let mark = if copy.link { "LINK " } else { "" };
        let name = self.step_name(here, mark, "", &[]);
        let op = Op::Copy(CopyOp {
            parent: self.state.vertex,
            kind: match flavour {
                Flavour::Copy => CopyKind::Copy,
                Flavour::Add => CopyKind::Add { unpack: copy.unpack },
            },
            sources,
            destination: paths::destination(self.workdir_path(), &written),
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

    /// Returns the sources that are paths, of the context or of what `--from` names.
    fn files(&mut self, here: Here<'_>, copy: &Copy, words: &[String]) -> Checked<Vec<CopySource>> {
        // A COPY of here-documents alone reads no context, but its `--from` must still make sense.
        let from = match copy.from.as_ref().filter(|word| !word.value.is_empty()) {
            Some(word) => {
                let place = here.at(word);
                self.source_vertex(&SourceName { word: &word.value, flag: FromFlag::Copy, place })?
            }
            None if words.is_empty() => return Ok(Vec::new()),
            None => from::context_vertex(self.plan),
        };
        let pattern = |word: &String| if word.is_empty() { ".".to_owned() } else { word.clone() };
        Ok(words.iter().map(|word| CopySource::Files { from, pattern: pattern(word) }).collect())
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
            let variable = |name: &str| self.state.scope.get(name).map(str::to_owned);
            let options = ExpandOptions { escape: '\\', variable: &variable, quotes: false };
            let expanded = expand(&body, &options).map_err(|error| place.error(error.to_string()))?;
            self.undefined(here, place, &expanded.unset);
            body = expanded.text;
        }
        Ok(CopySource::Inline { name, content: body.into_bytes() })
    }

    /// Expands a flag; one that expands to nothing is as if not given.
    fn flag(&mut self, here: Here<'_>, word: Option<&Spanned<String>>) -> Checked<Option<Spanned<String>>> {
        let Some(word) = word else { return Ok(None) };
        let value = self.word(here, word)?;
        Ok((!value.is_empty()).then_some(Spanned { value, span: word.span }))
    }
}

/// Parses `--chown`. Names cannot be looked up for a layer that does not know its image (D-220).
fn owner(text: &str, link: bool, place: Place) -> Checked<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.contains(':')) {
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

/// Refuses sources that are not paths.
fn check_source(word: &str, flavour: Flavour, place: Place) -> Checked<()> {
    let message = match (source_kind(word), flavour) {
        (SourceKind::Path, _) => return Ok(()),
        (SourceKind::Url, Flavour::Copy) => "source can't be a URL for COPY",
        (SourceKind::Git, Flavour::Copy) => "source can't be a git ref for COPY",
        (SourceKind::Url, Flavour::Add) => "ADD of a URL is not supported yet",
        (SourceKind::Git, Flavour::Add) => "ADD of a git repository is not supported yet",
    };
    Err(place.error(message))
}

/// Returns what a source is: a git reference, a URL, or else a path (D-230, D-231).
fn source_kind(word: &str) -> SourceKind {
    if word.starts_with("git://") || word.starts_with("ssh://") {
        return SourceKind::Git;
    }
    if let Some(rest) = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://")) {
        let end = rest.find(['#', '?']).unwrap_or(rest.len());
        let path = rest[..end].find('/').map_or("", |slash| &rest[slash..end]);
        return if path.ends_with(".git") { SourceKind::Git } else { SourceKind::Url };
    }
    match word.split_once('@') {
        Some((user, rest)) if rest.split_once(':').is_some_and(|(host, _)| is_login(user, host)) => {
            SourceKind::Git
        }
        _ => SourceKind::Path,
    }
}

/// Returns whether `user@host:` starts an address as scp writes it.
fn is_login(user: &str, host: &str) -> bool {
    let word = |text: &str, also: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
    };
    word(user, b"-_") && word(host, b".-")
}

//! What ADD fetches: files over HTTP and trees of git repositories (section 10.9).

use castoff_dockerfile::lint::flag_without_effect;
use castoff_dockerfile::{Copy, Spanned};
use castoff_graph::remote::{GitReference, GitReferenceError, HttpSource, SourceKind, redacted};
use castoff_graph::{CopySource, Op, SourceOp, Vertex, VertexId};
use castoff_oci::Digest;

use crate::place::{Checked, Place};

use super::copy::Word;
use super::{Here, StageLowering};

/// The flags of an ADD that concern what it fetches.
pub(super) struct RemoteFlags {
    checksum: Option<(String, Place)>,
    keep_git_dir: Option<bool>,
}

impl StageLowering<'_, '_> {
    /// Reads the flags of an instruction that has these sources (D-239, D-243).
    pub(super) fn remote_flags(
        &mut self,
        here: Here<'_>,
        copy: &Copy,
        words: &[Word],
    ) -> Checked<RemoteFlags> {
        let checksum = self.flag(here, copy.checksum.as_ref())?;
        let checksum = match checksum {
            Some(Spanned { value, span }) => {
                let place = here.at(&Spanned { value: (), span });
                let message = match (words, copy.heredocs.len()) {
                    ([Word { kind: SourceKind::Path, .. }], 0) => "checksum requires HTTP(S) or Git sources",
                    ([_], 0) => "",
                    _ => "checksum can't be specified for multiple sources",
                };
                if !message.is_empty() {
                    return Err(place.error(message));
                }
                Some((value, place))
            }
            None => None,
        };
        if copy.keep_git_dir.is_some() && words.iter().all(|word| word.kind != SourceKind::Git) {
            let message = flag_without_effect::message("--keep-git-dir", "no source is a git repository");
            self.warn(here, here.place(), &flag_without_effect::RULE, message);
        }
        Ok(RemoteFlags { checksum, keep_git_dir: copy.keep_git_dir })
    }

    /// Returns a file that is fetched over HTTP as a source.
    pub(super) fn url(
        &mut self,
        here: Here<'_>,
        word: &Word,
        flags: &RemoteFlags,
        destination: &str,
    ) -> Checked<CopySource> {
        let mut source = HttpSource::new(&word.text);
        let in_directory = destination.ends_with('/') || destination.ends_with("/.");
        if source.name.is_none() && in_directory {
            return Err(word.place.error_with_hint(
                format!("cannot tell the name of the file from the URL `{}`", redacted(&word.text)),
                Some("name the file in the destination".to_owned()),
            ));
        }
        if let Some((text, place)) = &flags.checksum {
            source.checksum = Some(sha256(text, *place)?);
        }
        // Wildcards mean nothing in the name of a fetched file.
        let pattern = source.file().to_owned();
        let pins = &self.plan.survey.options.pins;
        let pinned = pins.pin_file(&mut source);
        let name = pins.step_name(redacted(&source.url), pinned);
        let from = self.fetched(here, SourceOp::Http(source), name);
        Ok(CopySource::Files { from, pattern })
    }

    /// Returns a tree of a git repository as a source.
    pub(super) fn git(&mut self, here: Here<'_>, word: &Word, flags: &RemoteFlags) -> Checked<CopySource> {
        let parse = || -> Result<_, GitReferenceError> {
            let mut reference = GitReference::parse(&word.text)?;
            if let Some((checksum, _)) = &flags.checksum {
                reference = reference.with_checksum(checksum)?;
            }
            if let Some(keep) = flags.keep_git_dir {
                reference = reference.with_keep_git_dir(keep)?;
            }
            reference.into_source()
        };
        let mut source = parse().map_err(|error| word.place.error(error.to_string()))?;
        let pins = &self.plan.survey.options.pins;
        let pinned = pins.pin_tree(&mut source);
        let name = pins.step_name(redacted(&word.text), pinned);
        let from = self.fetched(here, SourceOp::Git(source), name);
        Ok(CopySource::Files { from, pattern: ".".to_owned() })
    }

    /// Adds a source that can fail: the place of the instruction is told.
    fn fetched(&mut self, here: Here<'_>, source: SourceOp, name: String) -> VertexId {
        let origin = Some(self.plan.origin(here.place()));
        let op = Op::Source(source);
        self.plan.add(Vertex { op, name, stage: None, origin, ignore_cache: false })
    }
}

/// Parses the checksum of a URL (D-243).
fn sha256(text: &str, place: Place) -> Checked<Digest> {
    text.parse().map_err(|_| {
        let message = format!("invalid checksum `{text}`");
        place.error_with_hint(message, Some("a URL has the checksum `sha256:` and 64 hex digits".to_owned()))
    })
}

//! `--attest`, `--sbom` and `--provenance` (B-012, B-032, B-175).

use super::fields::{self, FieldError};

/// What is to be said of the result. Nothing by default: an image without attestations is a single manifest that
/// every registry and runtime takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttestSpecs {
    /// A list of the packages.
    pub sbom: bool,
    /// How it was built.
    pub provenance: Option<ProvenanceSpec>,
}

/// How provenance is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceSpec {
    /// How much is told.
    pub mode: ProvenanceMode,
    /// Who built, as a URI.
    pub builder_id: Option<String>,
    /// Name of the file in outputs that are files.
    pub filename: Option<String>,
    /// Whether the caller promises that the build is reproducible.
    pub reproducible: bool,
    /// Whether outputs that are files do not get it.
    pub inline_only: bool,
}

/// How much provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Times, frontend, and what was fetched.
    Min,
    /// Also arguments, labels, steps, names of secrets, the Dockerfile and the revision.
    Max,
}

impl Default for ProvenanceSpec {
    fn default() -> ProvenanceSpec {
        ProvenanceSpec {
            mode: ProvenanceMode::Min,
            builder_id: None,
            filename: None,
            reproducible: false,
            inline_only: false,
        }
    }
}

/// Why an attestation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// The value is not made of fields.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No type, or one that does not exist.
    #[error("`{0}` is not a type of attestation: expected sbom or provenance")]
    Type(String),
    /// One type twice.
    #[error("attestations of type {0} are asked for twice")]
    Twice(&'static str),
    /// A scanner image.
    #[error(
        "scanner images are not supported yet: without `generator`, castoff's own scanner lists the packages"
    )]
    Generator,
    /// A format that is known but not built.
    #[error("provenance of version {0} is not supported: expected v1")]
    Version(String),
    /// No mode.
    #[error("`{0}` is not a mode: expected min or max")]
    Mode(String),
    /// A name that leads elsewhere.
    #[error("`{0}` is not the name of a file")]
    Filename(String),
}

impl AttestSpecs {
    /// Returns whether an image gets attestations.
    pub fn any(&self) -> bool {
        self.sbom || self.provenance.is_some()
    }
}

/// One value: the type and what it asks for.
enum Asked {
    Sbom(bool),
    Provenance(Option<ProvenanceSpec>),
}

/// What was asked for so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    sbom: Option<bool>,
    provenance: Option<Option<ProvenanceSpec>>,
}

impl Collected {
    /// Adds a value of `--attest`.
    pub(super) fn attest(&mut self, text: &str) -> Result<(), AttestError> {
        let fields = fields::split(text)?;
        self.add(&fields.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Adds a value of `--sbom` or `--provenance`: a boolean, or the fields of `--attest` without the type (B-032).
    pub(super) fn shorthand(&mut self, kind: &'static str, text: &str) -> Result<(), AttestError> {
        let kind = format!("type={kind}");
        match fields::boolean(text) {
            Ok(on) => self.add(&[&kind, if on { "disabled=false" } else { "disabled=true" }]),
            Err(_) => {
                let fields = fields::split(text)?;
                let fields: Vec<&str> =
                    [kind.as_str()].into_iter().chain(fields.iter().map(String::as_str)).collect();
                self.add(&fields)
            }
        }
    }

    fn add(&mut self, fields: &[&str]) -> Result<(), AttestError> {
        let (again, kind) = match parse(fields)? {
            Asked::Sbom(on) => (self.sbom.replace(on).is_some(), "sbom"),
            Asked::Provenance(spec) => (self.provenance.replace(spec).is_some(), "provenance"),
        };
        if again { Err(AttestError::Twice(kind)) } else { Ok(()) }
    }

    pub(super) fn specs(self) -> AttestSpecs {
        AttestSpecs { sbom: self.sbom == Some(true), provenance: self.provenance.flatten() }
    }
}

fn parse(fields: &[&str]) -> Result<Asked, AttestError> {
    let pairs: Vec<(String, &str)> =
        fields.iter().map(|field| fields::pair(field)).collect::<Result<_, _>>()?;
    let kind = pairs.iter().rev().find(|(key, _)| key == "type").map(|(_, value)| *value);
    let kind = match kind {
        Some(kind @ ("sbom" | "provenance")) => kind,
        other => return Err(AttestError::Type(other.unwrap_or_default().to_owned())),
    };
    let mut spec = ProvenanceSpec::default();
    let mut disabled = false;
    for (key, value) in &pairs {
        match (kind, key.as_str()) {
            (_, "type") => {}
            (_, "disabled") => disabled = fields::boolean(value)?,
            ("sbom", "generator") => return Err(AttestError::Generator),
            ("sbom", _) => return Err(fields::unknown_key(key, &["type", "disabled", "generator"]).into()),
            (_, "mode") => {
                spec.mode = match *value {
                    "min" => ProvenanceMode::Min,
                    "max" => ProvenanceMode::Max,
                    _ => return Err(AttestError::Mode((*value).to_owned())),
                }
            }
            (_, "version") if *value == "v1" => {}
            (_, "version") => return Err(AttestError::Version((*value).to_owned())),
            (_, "builder-id") => spec.builder_id = Some((*value).to_owned()).filter(|id| !id.is_empty()),
            (_, "filename") if value.is_empty() || value.contains('/') || matches!(*value, "." | "..") => {
                return Err(AttestError::Filename((*value).to_owned()));
            }
            (_, "filename") => spec.filename = Some((*value).to_owned()),
            (_, "reproducible") => spec.reproducible = fields::boolean(value)?,
            (_, "inline-only") => spec.inline_only = fields::boolean(value)?,
            _ => {
                let known = &[
                    "type",
                    "disabled",
                    "mode",
                    "version",
                    "builder-id",
                    "filename",
                    "reproducible",
                    "inline-only",
                ];
                return Err(fields::unknown_key(key, known).into());
            }
        }
    }
    Ok(match kind {
        "sbom" => Asked::Sbom(!disabled),
        _ => Asked::Provenance((!disabled).then_some(spec)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<AttestSpecs, String> {
        let mut collected = Collected::default();
        for (flag, value) in values {
            match *flag {
                "attest" => collected.attest(value),
                flag => collected.shorthand(flag, value),
            }
            .map_err(|error| error.to_string())?;
        }
        Ok(collected.specs())
    }

    // B-012, B-032, B-175
    #[test]
    fn attestations_are_off_unless_asked_for() {
        assert!(!read(&[]).unwrap().any());
        assert!(!read(&[("sbom", "false"), ("provenance", "0")]).unwrap().any());
        assert!(!read(&[("attest", "type=provenance,disabled=true")]).unwrap().any());
        assert!(read(&[("sbom", "true")]).unwrap().sbom);
        assert_eq!(
            read(&[("attest", "type=provenance")]).unwrap().provenance,
            Some(ProvenanceSpec::default())
        );
        let spec = ProvenanceSpec {
            mode: ProvenanceMode::Max,
            builder_id: Some("https://ci.example/1".to_owned()),
            filename: Some("p.json".to_owned()),
            reproducible: true,
            inline_only: true,
        };
        let value = "mode=max,builder-id=https://ci.example/1,filename=p.json,reproducible=true,inline-only=1,version=v1";
        assert_eq!(read(&[("provenance", value)]).unwrap().provenance, Some(spec));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let check = |flag, value: &str, expected: &str| {
            let error = read(&[(flag, value)]).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
        };
        check("attest", "mode=max", "expected sbom or provenance");
        check("attest", "type=slsa", "`slsa` is not a type of attestation");
        check("sbom", "generator=docker/scout", "scanner images are not supported yet");
        check("provenance", "version=v0.2", "provenance of version v0.2 is not supported");
        check("provenance", "mode=most", "`most` is not a mode");
        check("provenance", "filename=../x", "is not the name of a file");
        check("provenance", "mod=max", "did you mean `mode`?");
        check("provenance", "max", "must be a key=value pair");
        assert!(read(&[("sbom", "true"), ("attest", "type=sbom")]).unwrap_err().contains("twice"));
    }
}

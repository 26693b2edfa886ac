//! `castoff prove`.

use std::collections::BTreeMap;

use castoff_oci::Raw;
use castoff_solver::{Bodies, SecretValue};

use super::Context;
use crate::args::{ProveArgs, ReportFormat, SecretSpec};
use crate::build;
use crate::exit;
use crate::image;
use crate::prove::{self, Prover};

pub(super) fn prove(args: &ProveArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let specs = args.secret.iter().map(|text| Ok(SecretSpec::parse(text, context.environment)?));
    let secrets = build::secrets(&specs.collect::<anyhow::Result<Vec<_>>>()?)?;
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let world = &session.world;
    let bodies = Bodies::new(world);
    let named = image::find(&world.store, &args.image, platform.as_ref())?;
    let prover = Prover::new(values(&secrets));
    let image = named.image(&bodies)?;
    let index = named.index.as_ref().map(Raw::bytes).unwrap_or_default();
    let documents = [("the manifest", named.manifest.bytes()), ("the index", index)];
    let proof = prove::image(&prover, &image, &documents, &bodies, world.machine.jobs)?;
    super::print(&match args.format {
        ReportFormat::Json => format!("{:#}\n", prove::to_json(&proof)),
        ReportFormat::Text => {
            let text = prove::text(&proof);
            let text = text.trim_start_matches('\n');
            match text.is_empty() {
                true => format!("{}: {}\n", args.image, proof.summary()),
                false => format!("{}:\n{text}", args.image),
            }
        }
    })?;
    Ok(if proof.leaks.is_empty() { exit::SUCCESS } else { exit::FAILURE })
}

fn values(secrets: &BTreeMap<String, SecretValue>) -> impl Iterator<Item = (&str, &[u8])> {
    secrets.iter().map(|(id, value)| (id.as_str(), &value.0[..]))
}

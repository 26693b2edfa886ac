//! `castoff startable`.

use castoff_solver::{Bodies, Messenger, SnapshotLayer};

use super::Context;
use crate::args::{StartableArgs, StartableFormat};
use crate::exit;
use crate::image;
use crate::start::{self, StartFindings};

pub(super) fn startable(args: &StartableArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let bodies = Bodies::new(&session.world);
    let (messenger, _events) = Messenger::channel();
    let mut all = Vec::new();
    for name in &args.images {
        let named = image::find(&session.world.store, name, platform.as_ref())?;
        let layers = named.image(&bodies)?.layers;
        let layers: Vec<SnapshotLayer> =
            layers.into_iter().map(|layer| SnapshotLayer::Stored(layer.id)).collect();
        let config = named.config.value();
        let findings = start::check(&layers, config, &session.world, &bodies, &messenger)?;
        all.push(StartFindings { platform: config.platform(), findings });
    }
    super::print(&match args.format {
        StartableFormat::Json => format!("{:#}\n", start::to_json(&all)),
        StartableFormat::Text => args
            .images
            .iter()
            .zip(&all)
            .map(|(name, image)| match image.findings.is_empty() {
                true => format!("{name}: nothing keeps it from starting\n"),
                false => format!("{name}:{}", start::text(std::slice::from_ref(image))),
            })
            .collect(),
    })?;
    Ok(if all.iter().any(StartFindings::cannot_start) { exit::FAILURE } else { exit::SUCCESS })
}

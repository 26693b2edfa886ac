//! `castoff sbom`.

use castoff_inspect::packages::{self, Subject, cyclonedx, spdx};
use castoff_solver::{Bodies, Messenger, SnapshotLayer};

use super::Context;
use crate::args::{SbomArgs, SbomFormat};
use crate::image;
use crate::table::Table;
use crate::time;

pub(super) fn sbom(args: &SbomArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let bodies = Bodies::new(&session.world);
    let (messenger, _events) = Messenger::channel();
    let named = image::find(&session.world.store, &args.image, platform.as_ref())?;
    let layers = named.image(&bodies)?.layers;
    let layers: Vec<SnapshotLayer> =
        layers.into_iter().map(|layer| SnapshotLayer::Stored(layer.id)).collect();
    let inventory = packages::scan(&bodies.view(&layers, &messenger)?)?;
    let config = named.config.value();
    let subject = Subject {
        name: named.reference.as_ref().map_or_else(|| args.image.clone(), ToString::to_string),
        digest: Some(named.manifest.digest()),
        platform: config.platform(),
        created: time::whole_seconds(config.created.as_deref()),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    for unread in &inventory.unread {
        super::remark(&plain(&format!("warning: not read: {}: {}", unread.path, unread.reason)));
    }
    super::print(&match args.format {
        SbomFormat::SpdxJson => format!("{:#}\n", spdx::document(&inventory, &subject)),
        SbomFormat::CyclonedxJson => format!("{:#}\n", cyclonedx::document(&inventory, &subject)),
        SbomFormat::Table => {
            let mut table = Table::new(&["NAME", "VERSION", "TYPE", "LICENCE"]);
            for package in &inventory.packages {
                let licence = package.licence.clone().unwrap_or_default();
                let (name, version) = (package.name.clone(), package.version.clone());
                table.row([name, version, package.kind.name().to_owned(), licence].map(|cell| plain(&cell)));
            }
            table.to_string()
        }
    })
}

/// Returns a text of the image without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

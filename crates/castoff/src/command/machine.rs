//! `castoff info`: what this machine allows, and why.

use serde_json::json;

use super::Context;
use crate::args::{InfoArgs, ReportFormat};
use crate::platforms;

pub(super) fn info(args: &InfoArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let store = session.world.store.root();
    let scratch = session.world.store.temporary()?;
    let machine = castoff_sandbox::probe(scratch.path(), context.entered);
    let platforms = platforms::report(&session.world.search_path);
    if args.format == ReportFormat::Json {
        let abilities: Vec<_> = machine
            .abilities
            .iter()
            .map(|ability| json!({ "name": ability.name, "ok": ability.ok, "detail": ability.detail }))
            .collect();
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "platform": castoff_oci::Platform::host().to_string(),
            "store": store,
            "abilities": abilities,
            "platforms": platforms
                .iter()
                .map(|(platform, ok, detail)| json!({ "platform": platform.to_string(), "ok": ok, "detail": detail }))
                .collect::<Vec<_>>(),
        });
        return super::print(&format!("{}\n", serde_json::to_string_pretty(&facts)?));
    }
    let mut text = format!(
        "castoff {} on {}\nstore: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        castoff_oci::Platform::host(),
        store.display()
    );
    for ability in &machine.abilities {
        let mark = if ability.ok { "yes" } else { "no " };
        text.push_str(&format!("{mark}  {}: {}\n", ability.name, ability.detail));
    }
    text.push_str("\nsteps for:\n");
    for (platform, ok, detail) in &platforms {
        let mark = if *ok { "yes" } else { "no " };
        text.push_str(&format!("{mark}  {platform}: {detail}\n"));
    }
    super::print(&text)
}

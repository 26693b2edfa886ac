//! `castoff images`, `history`, `inspect`, `tag` and `rmi`.

use std::collections::BTreeMap;

use castoff_oci::{Digest, Platform, Reference};
use castoff_solver::World;
use serde_json::{Value, json};

use super::Context;
use crate::args::{HistoryArgs, ImagesArgs, InspectArgs, RmiArgs, TagArgs};
use crate::exit;
use crate::image::{self, Named};
use crate::table::{self, Table};

pub(super) fn images(args: &ImagesArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let now = (session.world.clock)();
    let wanted = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let listed: Vec<(Reference, Named)> = image::all(&session.world)?
        .into_iter()
        .filter(|(reference, _)| {
            wanted.as_ref().is_none_or(|wanted| {
                let explicit = args
                    .name
                    .as_deref()
                    .is_some_and(|name| name.rsplit('/').next().is_some_and(|last| last.contains(':')));
                wanted.name() == reference.name() && (!explicit || wanted.tag() == reference.tag())
            })
        })
        .collect();
    if args.quiet {
        let ids: Vec<String> = listed.iter().map(|(_, named)| shown_id(named, args.no_trunc)).collect();
        return super::print(&lines(&ids));
    }
    match args.format.as_deref() {
        None | Some("table") => {
            let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
            for (reference, named) in &listed {
                let familiar = reference.familiar();
                let tag = reference.tag().unwrap_or("<none>");
                let repository = familiar.strip_suffix(&format!(":{tag}")).unwrap_or(&familiar).to_owned();
                table.row([
                    repository,
                    tag.to_owned(),
                    shown_id(named, args.no_trunc),
                    table::ago(named.config.value().created.as_deref(), now),
                    table::bytes(size(&session.world, named)?),
                ]);
            }
            super::print(&table.to_string())
        }
        Some("json") => {
            let row = |(reference, named): &(Reference, Named)| -> anyhow::Result<String> {
                let platforms = named.all(&session.world.store)?;
                Ok(json!({
                    "Repository": reference.name(),
                    "Tag": reference.tag(),
                    "ID": named.id().to_string(),
                    "Digest": named.root().digest.to_string(),
                    "CreatedAt": named.config.value().created,
                    "Size": size(&session.world, named)?,
                    "Platforms": platforms.iter().map(|(platform, _)| platform.to_string()).collect::<Vec<_>>(),
                })
                .to_string())
            };
            let rows: Vec<String> = listed.iter().map(row).collect::<anyhow::Result<_>>()?;
            super::print(&lines(&rows))
        }
        Some(other) => anyhow::bail!("format `{other}` is not supported yet: table or json"),
    }
}

/// Returns the bytes of the layers of all platforms; one that several share counts once.
fn size(world: &World, named: &Named) -> anyhow::Result<u64> {
    let images = named.all(&world.store)?;
    let layers: BTreeMap<Digest, u64> = images
        .iter()
        .flat_map(|(_, image)| &image.manifest.value().layers)
        .map(|layer| (layer.digest, layer.size))
        .collect();
    match images.len() {
        1 => Ok(image::size(named.manifest.value())),
        _ => Ok(layers.values().sum()),
    }
}

fn shown_id(named: &Named, whole: bool) -> String {
    let digest = named.id();
    if whole { digest.to_string() } else { digest.hex()[..12].to_owned() }
}

fn lines(rows: &[String]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

pub(super) fn history(args: &HistoryArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let named = image::find(&session.world.store, &args.image, platform.as_ref())?;
    let now = (session.world.clock)();
    let mut sizes = named.manifest.value().layers.iter().map(|layer| layer.size);
    // Layers are listed from the bottom, the newest instruction is shown first.
    let mut rows = Vec::new();
    for entry in &named.config.value().history {
        let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
        rows.push((entry, size));
    }
    rows.reverse();
    if args.format.as_deref() == Some("json") {
        let rows: Vec<String> = rows
            .iter()
            .map(|(entry, size)| {
                json!({
                    "CreatedAt": entry.created,
                    "CreatedBy": entry.created_by.clone().unwrap_or_default(),
                    "Comment": entry.comment.clone().unwrap_or_default(),
                    "Size": size,
                })
                .to_string()
            })
            .collect();
        return super::print(&lines(&rows));
    }
    if let Some(other) = args.format.as_deref().filter(|format| *format != "table") {
        anyhow::bail!("format `{other}` is not supported yet: table or json");
    }
    let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for (index, (entry, size)) in rows.iter().enumerate() {
        let mut created_by = entry.created_by.clone().unwrap_or_default().replace('\t', " ");
        if !args.no_trunc && created_by.chars().count() > 45 {
            created_by = format!("{}...", created_by.chars().take(42).collect::<String>());
        }
        table.row([
            if index == 0 { shown_id(&named, args.no_trunc) } else { "<missing>".to_owned() },
            table::ago(entry.created.as_deref(), now),
            created_by,
            table::bytes(*size),
            entry.comment.clone().unwrap_or_default(),
        ]);
    }
    super::print(&table.to_string())
}

pub(super) fn inspect(args: &InspectArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let mut found = Vec::new();
    for name in &args.images {
        let mut named = image::find(&session.world.store, name, platform.as_ref())?;
        if platform.is_some() {
            // The image itself, as if there were no index over it.
            named.index = None;
        }
        found.push(facts(&session.world, &named)?);
    }
    let Some(format) = &args.format else {
        return super::print(&format!("{}\n", serde_json::to_string_pretty(&Value::Array(found))?));
    };
    let mut text = String::new();
    for facts in &found {
        text.push_str(&part(facts, format)?);
        text.push('\n');
    }
    super::print(&text)
}

/// What `docker image inspect` shows, as far as castoff knows it. Of an index these are the facts of the
/// image for this machine under the id of the index, and a list of all its images.
fn facts(world: &World, named: &Named) -> anyhow::Result<Value> {
    let config = named.config.value();
    let digest = named.root().digest;
    let mut tags = Vec::new();
    for tag in world.store.tags()? {
        if tag.descriptor.digest == digest {
            tags.push(tag.reference.familiar());
        }
    }
    let mut facts = json!({
        "Id": named.id().to_string(),
        "RepoTags": tags,
        "Digest": digest.to_string(),
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Variant": config.variant,
        "Size": image::size(named.manifest.value()),
        "Config": serde_json::to_value(&config.config)?,
        "RootFS": {
            "Type": "layers",
            "Layers": config.rootfs.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "History": serde_json::to_value(&config.history)?,
    });
    if named.index.is_some() {
        let images = named.all(&world.store)?;
        let manifest = |(platform, image): &(Platform, Named)| {
            json!({
                "Platform": platform.to_string(),
                "Id": image.config.digest().to_string(),
                "Digest": image.manifest.digest().to_string(),
                "Size": image::size(image.manifest.value()),
            })
        };
        facts["Manifests"] = images.iter().map(manifest).collect();
    }
    Ok(facts)
}

/// Follows a path of keys such as `.Config.Env`, with or without Go's braces. Go's names of fields are the keys of
/// documents with another case.
pub(super) fn part(facts: &Value, format: &str) -> anyhow::Result<String> {
    let inner = format.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
    let (as_json, path) = match inner.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, inner),
    };
    if !path.starts_with('.') || path.contains(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')) {
        anyhow::bail!("format `{format}` is not supported yet: a path of keys such as .Config.Env");
    }
    let mut value = facts;
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let other_case = || {
            let mut fields = value.as_object()?.iter();
            fields.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        };
        value = value.get(key).or_else(other_case).unwrap_or(&Value::Null);
    }
    Ok(match value {
        Value::String(text) if !as_json => text.clone(),
        other => other.to_string(),
    })
}

pub(super) fn tag(args: &TagArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let named = image::find(&session.world.store, &args.image, None)?;
    let name: Reference = args.name.parse()?;
    if name.digest().is_some() {
        anyhow::bail!("`{}`: a name cannot have a digest", args.name);
    }
    session.world.store.set_tag(&name, &named.root())?;
    session.world.store.sync()?;
    Ok(exit::SUCCESS)
}

pub(super) fn rmi(args: &RmiArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let store = &session.world.store;
    let mut code = exit::SUCCESS;
    for name in &args.images {
        let by_name = match name.parse::<Reference>() {
            Ok(reference) if store.remove_tag(&reference)? => Some(reference),
            _ => None,
        };
        if let Some(reference) = by_name {
            super::print(&format!("Untagged: {}\n", reference.familiar()))?;
            continue;
        }
        let id = image::find(store, name, None).ok().map(|named| named.root().digest);
        let mut removed = false;
        for tag in store.tags()? {
            if Some(tag.descriptor.digest) == id && store.remove_tag(&tag.reference)? {
                super::print(&format!("Untagged: {}\n", tag.reference.familiar()))?;
                removed = true;
            }
        }
        if !removed && !args.force {
            super::complain(&format!("there is no image `{name}` in the store"));
            code = exit::FAILURE;
        }
    }
    Ok(code)
}

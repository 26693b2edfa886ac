//! The packages of dpkg: `status` (deb-control(5), dpkg-query(1)) and what a package's `copyright` states.

use std::collections::{BTreeMap, BTreeSet};

use castoff_layer::{View, ViewError};

use super::{Collection, Finding, PackageKind};

const COPYRIGHT_LIMIT: u64 = 1 << 20;

/// Reads paragraphs about packages. In the file of dpkg itself only those that are `installed` are there.
pub(super) fn status(
    view: &View,
    path: &[u8],
    text: &str,
    with_status: bool,
    found: &mut Collection,
) -> Result<(), ViewError> {
    let (id, distro) = match &found.distribution {
        Some(distribution) => (distribution.id.clone(), distribution.qualifier()),
        None => ("debian".to_owned(), String::new()),
    };
    // A hostile file has one package a million times.
    let mut licences: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for paragraph in paragraphs(text) {
        let [mut name, mut version, mut architecture, mut source, mut status] = [""; 5];
        for (key, value) in paragraph {
            match key {
                "Package" => name = value,
                "Version" => version = value,
                "Architecture" => architecture = value,
                "Source" => source = value,
                "Status" => status = value,
                _ => {}
            }
        }
        if name.is_empty() || (with_status && !status.split(' ').any(|word| word == "installed")) {
            continue;
        }
        // `Source: name (version)`; the version is there when it is another.
        let source = source.split_once(' ').map_or_else(
            || source.to_owned(),
            |(source, version)| format!("{source}@{}", version.trim_matches(['(', ')'])),
        );
        if !licences.contains_key(name) {
            licences.insert(name, licence(view, name)?);
        }
        found.add(
            path,
            &Finding {
                kind: PackageKind::Deb,
                namespace: &id,
                name,
                full_name: name,
                version,
                qualifiers: &[("arch", architecture), ("distro", &distro), ("upstream", &source)],
                licence: licences[name].as_deref(),
            },
        );
    }
    Ok(())
}

/// Splits text into paragraphs of fields; the further lines of a long field are left out.
fn paragraphs(text: &str) -> impl Iterator<Item = impl Iterator<Item = (&str, &str)>> {
    text.split("\n\n").map(|paragraph| {
        paragraph.lines().filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key, value.trim()))
        })
    })
}

/// Returns the names of licences in a machine-readable `copyright` (DEP-5).
fn licence(view: &View, package: &str) -> Result<Option<String>, ViewError> {
    if package.contains('/') {
        return Ok(None);
    }
    let path = format!("usr/share/doc/{package}/copyright");
    let bytes = match view.read(path.as_bytes(), COPYRIGHT_LIMIT) {
        Ok(Some(bytes)) => bytes,
        Err(error @ ViewError::Io { .. }) => return Err(error),
        // Links to nowhere, directories and what else an image may have there.
        Ok(None) | Err(_) => return Ok(None),
    };
    let text = String::from_utf8_lossy(&bytes);
    if !text.starts_with("Format:") {
        return Ok(None);
    }
    let lines = text.lines().filter_map(|line| Some(line.strip_prefix("License:")?.trim()));
    let names: BTreeSet<&str> = lines.filter(|name| !name.is_empty()).collect();
    Ok((!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" AND ")))
}

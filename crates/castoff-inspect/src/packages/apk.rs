//! The packages of apk: `installed`, a line for each field (apk-tools' "installed database" v2).

use super::{Collection, Finding, PackageKind};

/// Reads the database.
pub(super) fn installed(path: &[u8], text: &str, found: &mut Collection) {
    let (id, distro) = match &found.distribution {
        Some(distribution) => (distribution.id.clone(), distribution.qualifier()),
        None => ("alpine".to_owned(), String::new()),
    };
    for paragraph in text.split("\n\n") {
        let [mut name, mut version, mut architecture, mut licence, mut origin] = [""; 5];
        for line in paragraph.lines() {
            match line.split_once(':') {
                Some(("P", value)) => name = value,
                Some(("V", value)) => version = value,
                Some(("A", value)) => architecture = value,
                Some(("L", value)) => licence = value,
                Some(("o", value)) if value != name => origin = value,
                // The files of the package follow.
                Some(("F", _)) => break,
                _ => {}
            }
        }
        if name.is_empty() {
            continue;
        }
        found.add(
            path,
            &Finding {
                kind: PackageKind::Apk,
                namespace: &id,
                name,
                full_name: name,
                version,
                qualifiers: &[("arch", architecture), ("distro", &distro), ("upstream", origin)],
                licence: Some(licence),
            },
        );
    }
}

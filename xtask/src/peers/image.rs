//! Images in archives as `docker save` writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tree::{self, Layer, Tree};

/// What a builder made.
#[derive(Serialize, Deserialize)]
pub(crate) struct Image {
    /// The config document.
    pub(crate) config: Value,
    /// The file system.
    pub(crate) tree: Tree,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Reads archives; what layers hold is remembered by their diff ids.
#[derive(Default)]
pub(crate) struct Reader {
    layers: BTreeMap<String, Arc<Layer>>,
}

impl Reader {
    /// Returns the images of an archive by name, less the registry and the tag.
    pub(crate) fn read(&mut self, path: &Path) -> Result<BTreeMap<String, Image>> {
        let archive = Archive::open(path)?;
        let listed: Vec<Listed> = serde_json::from_slice(&archive.bytes("manifest.json")?)?;
        let mut images = BTreeMap::new();
        for image in listed {
            let config: Value = serde_json::from_slice(&archive.bytes(&image.config)?)?;
            // An image without layers has no list either when buildah wrote it.
            let diffs: Option<Vec<String>> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())
                .with_context(|| format!("config `{}`", image.config))?;
            let (diffs, layers) = (diffs.unwrap_or_default(), image.layers.unwrap_or_default());
            if diffs.len() != layers.len() {
                bail!("{} layers, {} diff ids", layers.len(), diffs.len());
            }
            let mut tree = Tree::default();
            for (diff, name) in diffs.iter().zip(&layers) {
                let layer = self.layer(&archive, diff, name)?;
                tree.apply(&layer).with_context(|| format!("layer {diff} of {:?}", image.repo_tags))?;
            }
            for tag in image.repo_tags.into_iter().flatten() {
                let name = tag.rsplit('/').next().unwrap_or_default();
                let name = name.split(':').next().unwrap_or_default().to_owned();
                images.insert(name, Image { config: config.clone(), tree: tree.clone() });
            }
        }
        Ok(images)
    }

    fn layer(&mut self, archive: &Archive, diff: &str, name: &str) -> Result<Arc<Layer>> {
        if let Some(layer) = self.layers.get(diff) {
            return Ok(layer.clone());
        }
        let mut start = [0; 2];
        let read = archive.member(name)?.read(&mut start)?;
        let mut member = archive.member(name)?;
        let layer = if read == 2 && start == [0x1f, 0x8b] {
            tree::read_layer(&mut flate2::read::MultiGzDecoder::new(member))
        } else {
            tree::read_layer(&mut member)
        };
        let layer = Arc::new(layer.with_context(|| format!("layer `{name}`"))?);
        self.layers.insert(diff.to_owned(), layer.clone());
        Ok(layer)
    }
}

/// An archive and where its members are.
struct Archive {
    file: File,
    members: BTreeMap<String, (u64, u64)>,
    links: BTreeMap<String, String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Archive> {
        let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let mut members = BTreeMap::new();
        let mut links = BTreeMap::new();
        for entry in tar::Archive::new(&file).entries_with_seek()? {
            let entry = entry?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            if let Some(target) = entry.link_name()? {
                let target = target.to_string_lossy().trim_start_matches("../").to_owned();
                links.insert(name, target);
            } else {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Archive { file, members, links })
    }

    fn member(&self, name: &str) -> Result<impl Read> {
        let name = self.links.get(name).map_or(name, String::as_str);
        let (offset, size) =
            *self.members.get(name).with_context(|| format!("no `{name}` in the archive"))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.take(size))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.member(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

//! What a build was made of: everything that was fetched, by what it is (B-178).

use castoff_graph::remote::redacted;
use castoff_graph::{BuildGraph, KeyRecipe, NetworkMode, Op, SourceOp, VertexId};

use crate::World;
use crate::driver::Solved;
use crate::export::attest::image_purl;

/// Something that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Where it came from, without credentials.
    pub uri: String,
    /// The algorithm of its digest, as in-toto names it, and the digest in hexadecimal digits; `None` where it
    /// is not known.
    pub digest: Option<(&'static str, String)>,
}

/// What is known of where a build's content came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materials {
    /// What was fetched, sorted, each once.
    pub fetched: Vec<Material>,
    /// Whether there is nothing else: no directory of the caller's, and no step that could have used a network.
    pub complete: bool,
}

impl Material {
    /// Returns a tree of a repository at a commit.
    pub fn of_git(remote: &str, reference: Option<&str>, commit: &str) -> Material {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        let reference = reference.map(|reference| format!("#{reference}")).unwrap_or_default();
        let uri = format!("{}{reference}", redacted(remote));
        Material { uri, digest: Some((algorithm, commit.to_owned())) }
    }

    /// Returns a file that a server gave.
    pub fn of_http(url: &str, content: &castoff_oci::Digest) -> Material {
        Material { uri: redacted(url), digest: Some(("sha256", content.hex())) }
    }
}

/// Returns what the vertices of a graph were made of. `more` was fetched before the graph was there.
///
/// # Errors
/// When the store cannot be read.
pub fn materials(
    graph: &BuildGraph,
    solved: &Solved,
    world: &World,
    more: &[Material],
) -> Result<Materials, castoff_store::FileError> {
    let mut found = Materials { fetched: more.to_vec(), complete: true };
    for place in 0..graph.len() {
        let id = VertexId(place as u32);
        match &graph.vertex(id).op {
            Op::Source(SourceOp::Image { reference, manifest, platform }) => found.fetched.push(Material {
                uri: image_purl(reference, platform),
                digest: Some(("sha256", manifest.hex())),
            }),
            Op::Source(SourceOp::Http(source)) => {
                let content = part(solved, id, world, "content")?;
                let digest =
                    content.and_then(|text| Some(("sha256", text.strip_prefix("sha256:")?.to_owned())));
                found.fetched.push(Material { uri: redacted(&source.url), digest });
            }
            Op::Source(SourceOp::Git(source)) => {
                let material = match part(solved, id, world, "commit")? {
                    Some(commit) => Material::of_git(&source.remote, source.reference.as_deref(), &commit),
                    None => Material { uri: redacted(&source.remote), digest: None },
                };
                found.fetched.push(material);
            }
            Op::Source(SourceOp::Local(_)) => found.complete = false,
            Op::Run(run) if run.network != NetworkMode::None => found.complete = false,
            Op::Source(SourceOp::Scratch | SourceOp::Tree { .. })
            | Op::Run(_)
            | Op::Copy(_)
            | Op::Workdir(_) => {}
        }
    }
    found.fetched.sort_unstable();
    found.fetched.dedup();
    found.complete &= found.fetched.iter().all(|material| material.digest.is_some());
    Ok(found)
}

/// Returns a part of the recipe of a source, which says what came. A source that was not needed has none.
fn part(
    solved: &Solved,
    id: VertexId,
    world: &World,
    name: &str,
) -> Result<Option<String>, castoff_store::FileError> {
    let Some(result) = solved.result(id) else { return Ok(None) };
    let Some(record) = world.store.record(result.identity.0)? else { return Ok(None) };
    let recipe = serde_json::from_value::<KeyRecipe>(record.recipe).ok();
    let parts = recipe.into_iter().flat_map(|recipe| recipe.parts);
    Ok(parts.into_iter().find(|(part, _)| part == name).map(|(_, value)| value))
}

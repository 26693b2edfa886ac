//! The graph: vertices in an order in which inputs come first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Op;

/// The place of a vertex in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(pub u32);

impl fmt::Display for VertexId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}", self.0)
    }
}

/// Where a vertex came from, enough to report an error there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source text as the user knows it.
    pub source: String,
    /// First line, from 1.
    pub first_line: u32,
    /// Last line, from 1.
    pub last_line: u32,
}

/// One operation of the graph and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// Name in progress output, such as `[builder 3/5] RUN npm ci`.
    pub name: String,
    /// Stage it was written in, for explanations; a name or `stage-N`.
    pub stage: Option<String>,
    /// Where it was written.
    pub origin: Option<Origin>,
    /// Whether existing results are ignored (`--no-cache`).
    pub ignore_cache: bool,
}

/// Vertices and their edges. Every vertex comes after its inputs; no two vertices have equal
/// operations and equal cache rules, so equal work is in the graph once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildGraph {
    vertices: Vec<Vertex>,
    index: BTreeMap<(Op, bool), VertexId>,
}

/// Why a vertex was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An input is not in the graph yet.
    #[error("vertex `{name}` reads {input}, which is not in the graph")]
    UnknownInput {
        /// Name of the refused vertex.
        name: String,
        /// The missing input.
        input: VertexId,
    },
}

impl BuildGraph {
    /// Adds a vertex, or returns the one that already does the same.
    ///
    /// # Errors
    /// When an input is not in the graph.
    pub fn add(&mut self, vertex: Vertex) -> Result<VertexId, GraphError> {
        let unknown = vertex.op.inputs().into_iter().find(|input| input.0 as usize >= self.vertices.len());
        if let Some(input) = unknown {
            return Err(GraphError::UnknownInput { name: vertex.name, input });
        }
        let identity = (vertex.op.clone(), vertex.ignore_cache);
        if let Some(existing) = self.index.get(&identity) {
            return Ok(*existing);
        }
        let id = VertexId(u32::try_from(self.vertices.len()).expect("a graph has fewer than 2^32 vertices"));
        self.index.insert(identity, id);
        self.vertices.push(vertex);
        Ok(id)
    }

    /// Returns a vertex.
    ///
    /// # Panics
    /// When the id is of another graph.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// Returns all vertices, inputs first.
    pub fn iter(&self) -> impl Iterator<Item = (VertexId, &Vertex)> {
        (0..).map(VertexId).zip(&self.vertices)
    }

    /// Returns how many vertices there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// Returns the vertices that `roots` need, themselves included, inputs first.
    pub fn needed(&self, roots: &[VertexId]) -> Vec<VertexId> {
        let mut needed = BTreeSet::new();
        let mut open = roots.to_vec();
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                open.extend(self.vertex(id).op.inputs());
            }
        }
        needed.into_iter().collect()
    }
}

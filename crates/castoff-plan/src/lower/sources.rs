//! What a `from=` of COPY or a mount leads to, as a vertex.

use castoff_graph::VertexId;

use crate::place::Checked;
use crate::stage::{FromFlag, Source, SourceName};

use super::{StageLowering, from};

impl StageLowering<'_, '_> {
    /// Returns the vertex that a `from=` names.
    pub(super) fn source_vertex(&mut self, source: &SourceName<'_>) -> Checked<VertexId> {
        match self.plan.survey.source(source, self.index)? {
            Source::Root(root) => Ok(from::root_vertex(self.plan, &root)),
            Source::Later(_) => {
                let verb = match source.flag {
                    FromFlag::Copy => "copy",
                    FromFlag::Mount => "mount",
                };
                let stage = self.plan.survey.stage_name(self.index);
                Err(source.place.error_with_hint(
                    format!(
                        "cannot {verb} from stage \"{}\", it needs to be defined before current stage \"{stage}\"",
                        source.word
                    ),
                    Some("stages may only use stages above them".to_owned()),
                ))
            }
        }
    }
}

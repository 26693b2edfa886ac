//! `castoff plan`: the graph, without building it.

use castoff_graph::print;

use super::Context;
use crate::args::{PlanArgs, PlanFormat};
use crate::report;

pub(super) fn plan(args: &PlanArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let request = args.request(context.environment)?;
    let mut session = context.session()?;
    let planned = match crate::build::plan(&request, &mut session.world, &mut |_| {}) {
        Ok(planned) => planned,
        Err(error) => return Ok(report::failure(&error, &[], &mut std::io::stderr())),
    };
    let outputs = &planned.plan.outputs;
    super::print(&match args.format {
        PlanFormat::Text => print::text(&planned.plan.graph, outputs),
        PlanFormat::Json => print::json(&planned.plan.graph, outputs),
        PlanFormat::Dot => print::dot(&planned.plan.graph, outputs),
    })
}

//! temp
use super::Context;
use crate::args::InfoArgs;
pub(super) fn info(_: &InfoArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    super::print(&format!("{:?}\n", context.entered))
}

//! `castoff report`: all that is known of an image and its build, as one page or one document.

mod document;
mod facts;
mod page;
mod weights;

use castoff_solver::{Bodies, Messenger};

use super::Context;
use super::explain::Subject;
use crate::args::{OutputFile, ReportArgs, ReportForm};
use crate::exit;
use crate::image;
use crate::output_file::to_file;

pub(super) fn report(args: &ReportArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    if args.output.is_none() && args.format == ReportForm::Html && context.environment.stdout_is_terminal {
        anyhow::bail!("refusing to write a page to a terminal: give -o FILE or redirect standard output");
    }
    let session = context.session()?;
    let world = &session.world;
    let platform = super::platform(args.platform.as_deref())?;
    let named = image::find(&world.store, &args.image, platform.as_ref())?;
    let bodies = Bodies::new(world);
    let (messenger, _events) = Messenger::channel();
    let subject = Subject::open(&args.image, &named, world, &bodies, &messenger)?;
    let document = document::of(&subject)?;
    for problem in document["problems"].as_array().into_iter().flatten() {
        super::remark(&format!("warning: {}", problem.as_str().unwrap_or_default()));
    }
    let written = match args.format {
        ReportForm::Html => page::of(&document)?,
        ReportForm::Json => format!("{document}\n"),
    };
    let dest = args.output.clone().map_or(OutputFile::Stdout, OutputFile::Path);
    to_file(&dest, &mut |to| Ok(to.write_all(written.as_bytes())?))?;
    Ok(exit::SUCCESS)
}

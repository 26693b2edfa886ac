//! `castoff build --call` and `--check`: an answer instead of an image.

use std::io;

use serde_json::json;

use super::Context;
use super::build::show;
use crate::args::{BuildRequest, CallSpec};
use crate::call::{self, Answer};
use crate::exit;
use crate::interrupt;
use crate::output_file::write_output;
use crate::report;
use crate::session::SessionOptions;

pub(super) fn call(spec: CallSpec, request: &BuildRequest, context: &Context<'_>) -> anyhow::Result<u8> {
    let mut session = context.open(SessionOptions { jobs: request.jobs, lease: true })?;
    let interrupted = interrupt::watch(&session.world.cancel)?;
    let answer = show(request.progress, context, |events| {
        call::answer(spec.call, &request.plan, &mut session.world, events)
    })
    .result;
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Ok(report::failure(&error, &[], &mut io::stderr())),
    };
    if let Some(path) = &request.metadata_file {
        write_output(path, &metadata(&answer)?)?;
    }
    if spec.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&answer.json)?))?;
    } else {
        super::print(&answer.text)?;
        super::complain_in_full(&answer.errors);
    }
    Ok(if spec.ignore_status { exit::SUCCESS } else { answer.status })
}

/// B-115
fn metadata(answer: &Answer) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&json!({
        "result.json": answer.json,
        "result.statuscode": answer.status.to_string(),
        "result.txt": answer.text,
    }))?;
    text.push(b'\n');
    Ok(text)
}

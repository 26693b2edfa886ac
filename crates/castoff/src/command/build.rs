//! `castoff build`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use castoff_sandbox::{Cancel, Entered, IdMap};
use castoff_solver::{Event, StepId};

use super::Context;
use crate::args::{BuildArgs, BuildRequest, OnError, ProgressMode};
use crate::build::{self, BuildError, Built};
use crate::exit;
use crate::history::Recorder;
use crate::interrupt;
use crate::progress::{self, Colors, Renderer};
use crate::prove;
use crate::report;
use crate::session::SessionOptions;
use crate::start;

/// How often the terminal view is drawn at least.
const FRAME: Duration = Duration::from_millis(100);

pub(super) fn build(args: &BuildArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let mut request = args.request(context.global, context.environment)?;
    // Lines for people; the other modes are nothing, or lines for programs.
    if matches!(request.progress, ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain) {
        for notice in request.notices.iter().cloned().chain(limits(context.entered)) {
            super::remark(&format!("note: {notice}"));
        }
    }
    add_proxies(&mut request, context);
    if let Some(spec) = request.call {
        return super::call::call(spec, &request, context);
    }
    if let Some(path) = &request.iidfile {
        // An id of an earlier build must not be taken for this one's.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut session = context.open(SessionOptions { jobs: request.jobs, lease: true })?;
    let interrupted = interrupt::watch(&session.world.cancel)?;
    let mut recorder =
        Recorder::new(&request, &std::env::current_dir().unwrap_or_default(), session.world.clock);
    let shown = show(request.progress, context, |events| {
        build::build(&request, &mut session.world, &mut recorder, events)
    });
    let (mut built, tail) = (shown.result, shown.tail);
    let failure = recorder.failure();
    if let (Some(_), Err(BuildError::Step { hints, .. })) = (&failure, &mut built) {
        hints.push("`castoff shell @last` goes where the step failed".to_owned());
    }
    if let Err(error) = recorder.keep(&built, &shown.numbers, &session.world.store) {
        // Nothing is lost by it but what is told of this build later.
        super::remark(&format!("warning: the record of this build: {}", castoff_solver::chain(&error)));
    }
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    match built {
        Ok(built) => finish(&request, &built, context),
        Err(error) => {
            let code = report::failure(&error, &tail, &mut io::stderr());
            if let Some(path) = &request.save_failure {
                let is_proven = session.world.guard.is_some();
                // The failure has stopped the build's own.
                session.world.cancel = Cancel::new()?;
                if let Err(error) = super::shell::save(failure.as_ref(), path, is_proven, &session.world) {
                    super::complain(&format!(
                        "writing `{}`: {}",
                        path.display(),
                        castoff_solver::chain(error.as_ref())
                    ));
                }
            }
            if request.on_error == OnError::Shell {
                super::shell::on_error(failure.as_ref(), context.environment, &mut session.world)?;
            }
            Ok(code)
        }
    }
}

/// Says what steps cannot do in the mode that was chosen (B-196).
fn limits(entered: &Entered) -> Option<String> {
    match entered {
        Entered::Root | Entered::UserNamespace(IdMap::Identity | IdMap::Range) | Entered::Exited(_) => None,
        Entered::UserNamespace(IdMap::Single) => Some(
            "this user has no subordinate ids: inside steps every file belongs to root, no step can become \
             another user, and changes of owner are pretended and lost (castoff info says how to lift this)"
                .to_owned(),
        ),
        Entered::Confined { reason } => {
            Some(format!("RUN will fail here, because namespaces are not allowed: {reason}"))
        }
    }
}

/// The proxies of docker's `config.json` (B-008).
fn add_proxies(request: &mut BuildRequest, context: &Context<'_>) {
    if let Some(bytes) = docker_config(context) {
        request.plan.add_proxies(&bytes);
    }
}

/// Returns docker's `config.json`, if there is one.
pub(super) fn docker_config(context: &Context<'_>) -> Option<Vec<u8>> {
    let directory = context.environment.docker_config_dir()?;
    std::fs::read(directory.join("config.json")).ok()
}

/// What came of work that was shown.
pub(super) struct Shown<T, E> {
    /// Its result.
    pub(super) result: Result<T, E>,
    /// The last output of the step that failed.
    pub(super) tail: Vec<Vec<u8>>,
    /// The numbers of the steps.
    pub(super) numbers: BTreeMap<StepId, u32>,
}

/// Works on one thread and shows progress on this one.
pub(super) fn show<T: Send, E: Send>(
    mode: ProgressMode,
    context: &Context<'_>,
    work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T, E> + Send,
) -> Shown<T, E> {
    let mut renderer = renderer(mode, context);
    let mut tails = progress::Tails::default();
    let start = Instant::now();
    let built = std::thread::scope(|scope| {
        // Short: what writes faster than it is shown waits, and does not fill the memory.
        let (sender, receiver) = std::sync::mpsc::sync_channel(256);
        let thread = scope.spawn(move || {
            work(&mut |event| {
                // The time at which it happened, not that at which it is shown.
                let _shown_or_over = sender.send((start.elapsed(), event));
            })
        });
        loop {
            match receiver.recv_timeout(FRAME) {
                Ok((now, event)) => {
                    tails.event(now, &event);
                    renderer.event(now, &event);
                }
                Err(RecvTimeoutError::Timeout) => renderer.tick(start.elapsed()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        thread.join().expect("a build does not panic")
    });
    renderer.finish(start.elapsed(), built.is_ok());
    Shown { result: built, tail: tails.failed(), numbers: renderer.numbers() }
}

fn renderer(mode: ProgressMode, context: &Context<'_>) -> Renderer {
    progress::renderer(mode, context.environment)
}

fn finish(request: &BuildRequest, built: &Built, context: &Context<'_>) -> anyhow::Result<u8> {
    if !matches!(request.progress, ProgressMode::Quiet | ProgressMode::None | ProgressMode::RawJson) {
        let environment = context.environment;
        let colors = (request.progress == ProgressMode::Tty && !environment.no_color())
            .then(|| Colors::parse(environment.text("BUILDKIT_COLORS").unwrap_or_default()));
        let in_full = request.debug;
        report::warnings(&built.warnings, &built.dockerfile, in_full, colors.as_ref(), &mut io::stderr());
        // There is nobody left to tell when standard error is closed.
        let _nobody = io::stderr().write_all(start::text(&built.start).as_bytes());
        let proof = built.proof.as_ref().map(prove::text).unwrap_or_default();
        let _nobody = io::stderr().write_all(proof.as_bytes());
        if request.tags.is_empty()
            && request.outputs.is_empty()
            && request.metadata_file.is_none()
            && request.iidfile.is_none()
        {
            super::remark("note: the image has no name; give one with -t NAME, or choose an output with -o");
        }
    }
    match &built.images {
        Some(images) if request.progress == ProgressMode::Quiet => {
            super::print(&format!("{}\n", images.id()))
        }
        _ => Ok(exit::SUCCESS),
    }
}

//! How a build is shown while it goes on (section 7 of the builder specification).
//!
//! [`Renderer`] is told each [`Event`] and the passing of time, and writes to whatever it was given. It
//! never asks for the time, the terminal or the environment itself. Nothing here can fail: a progress
//! display that cannot be written, because standard error was closed, is no reason to stop a build.

mod log;
mod plain;
mod rawjson;
mod steps;
mod style;
mod text;
mod tty;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use castoff_solver::{Event, StepId};

use crate::args::{Environment, ProgressMode};
use plain::Plain;
use rawjson::RawJson;
use steps::Steps;
pub use style::{Colors, TerminalSize};
use tty::Tty;

/// How the display looks.
#[derive(Debug, Clone)]
pub struct RendererOptions {
    /// The form; `Auto` is the same as `Plain`.
    pub mode: ProgressMode,
    /// When the build began, for the times of rawjson.
    pub started_at: jiff::Timestamp,
    /// Size of the terminal.
    pub size: TerminalSize,
    /// Colours of the tty form; `None` is no colour.
    pub colors: Option<Colors>,
    /// Log lines shown of each running step (BUILDKIT_TTY_LOG_LINES).
    pub log_lines: usize,
    /// Time between two frames of the tty form (TTY_DISPLAY_RATE).
    pub frame: Duration,
    /// Whether plain step names are cut to 72 characters (PROGRESS_NO_TRUNC=0).
    pub cut_names: bool,
}

/// A step that failed, as its report shows it (B-153).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// Name of the step.
    pub name: String,
    /// The error's text in one line.
    pub message: String,
    /// The last lines of its log, each with its time.
    pub log: Vec<String>,
}

/// Shows a build.
pub struct Renderer {
    steps: Steps,
    /// Asks for the size of the terminal, which may change.
    measure: Option<fn() -> Option<TerminalSize>>,
    ticked: Duration,
    form: Form,
    output: Box<dyn Write + Send>,
}

enum Form {
    Plain(Plain),
    Tty(Box<Tty>),
    RawJson(RawJson),
    Quiet,
}

impl RendererOptions {
    /// Returns the options that the environment asks for.
    pub fn new(
        mode: ProgressMode,
        environment: &Environment,
        started_at: jiff::Timestamp,
        size: TerminalSize,
    ) -> RendererOptions {
        let number = |name| environment.filled(name)?.parse().ok();
        RendererOptions {
            mode,
            started_at,
            size,
            colors: (!environment.no_color())
                .then(|| Colors::parse(environment.text("BUILDKIT_COLORS").unwrap_or_default())),
            log_lines: number("BUILDKIT_TTY_LOG_LINES").unwrap_or(6),
            frame: number("TTY_DISPLAY_RATE").map_or(FRAME, |millis| Duration::from_millis(millis as u64)),
            cut_names: environment.text("PROGRESS_NO_TRUNC") == Some("0"),
        }
    }
}

/// How often a display moves when nobody says otherwise. Callers tick at this rate.
pub const FRAME: Duration = Duration::from_millis(100);

impl Renderer {
    /// Returns a display that writes to `output`, which is standard error in the program.
    pub fn new(options: RendererOptions, output: Box<dyn Write + Send>) -> Renderer {
        // A line that is rewritten is a new line each time in the forms that cannot rewrite.
        let rewritten = match options.mode {
            ProgressMode::Tty => log::PATIENCE,
            _ => plain::TRANSFER_TIME,
        };
        let steps = Steps::new(options.log_lines, rewritten);
        let form = match options.mode {
            ProgressMode::Auto | ProgressMode::Plain => Form::Plain(Plain::new(options.cut_names)),
            ProgressMode::Tty => Form::Tty(Box::new(Tty::new(options))),
            ProgressMode::RawJson => Form::RawJson(RawJson::new(options.started_at)),
            ProgressMode::Quiet | ProgressMode::None => Form::Quiet,
        };
        Renderer { steps, measure: None, ticked: Duration::ZERO, form, output }
    }

    /// Takes note of an event; `now` is the time since the build began and never goes back.
    pub fn event(&mut self, now: Duration, event: &Event) {
        let pieces = self.steps.event(now, event);
        let text = match &mut self.form {
            Form::Plain(plain) => plain.event(now, event, &self.steps, pieces),
            Form::Tty(tty) => tty.event(now, &self.steps),
            Form::RawJson(raw) => raw.event(now, event, &self.steps),
            Form::Quiet => return,
        };
        self.write(&text);
        // A caller that is busy with events does not come to tick.
        if now.saturating_sub(self.ticked) >= FRAME {
            self.tick(now);
        }
    }

    /// Takes note that time has passed. To be called every [`FRAME`] or so.
    pub fn tick(&mut self, now: Duration) {
        self.ticked = now;
        if let Some(size) = self.measure.and_then(|measure| measure()) {
            self.resize(size);
        }
        let pieces = self.steps.flush(now);
        let text = match &mut self.form {
            Form::Plain(plain) => plain.tick(now, &self.steps, pieces),
            Form::Tty(tty) => tty.event(now, &self.steps),
            Form::RawJson(_) | Form::Quiet => return,
        };
        self.write(&text);
    }

    /// Takes note of a new size of the terminal.
    pub fn resize(&mut self, size: TerminalSize) {
        if let Form::Tty(tty) = &mut self.form {
            tty.resize(size);
        }
    }

    /// Writes what is still to be shown: the last frame. Nothing may be told
    /// afterwards.
    pub fn finish(&mut self, now: Duration, succeeded: bool) {
        let pieces = self.steps.flush_all(now);
        let text = match &mut self.form {
            Form::Plain(plain) => plain.finish(now, &self.steps, pieces),
            Form::Tty(tty) => tty.finish(now, &self.steps, succeeded),
            Form::RawJson(_) | Form::Quiet => return,
        };
        self.write(&text);
    }

    /// Returns the step that failed first, if one did.
    pub fn failure(&self) -> Option<FailedStep> {
        self.steps.failure()
    }

    /// Returns the numbers that steps were shown under; where none are shown, steps are counted in the order in
    /// which they were heard of.
    pub fn numbers(&self) -> BTreeMap<StepId, u32> {
        match &self.form {
            Form::Plain(plain) => plain.numbers(),
            Form::Tty(_) | Form::RawJson(_) | Form::Quiet => {
                self.steps.order.iter().copied().zip(1..).collect()
            }
        }
    }

    /// Writes a text in one piece, so that a reader sees whole lines and a terminal whole frames.
    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            // See the module's header: there is nobody to tell.
            let _ = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        }
    }
}

/// Returns the display on standard error, as the environment asks for it.
pub fn renderer(mode: ProgressMode, environment: &Environment) -> Renderer {
    let size = terminal_size().unwrap_or_default();
    let options = RendererOptions::new(mode, environment, jiff::Timestamp::now(), size);
    let mut renderer = Renderer::new(options, Box::new(io::stderr()));
    renderer.measure = (mode == ProgressMode::Tty).then_some(terminal_size);
    renderer
}

/// Returns the size of the terminal at standard error; none when there is no terminal, or one that does
/// not know its size.
pub fn terminal_size() -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok()?;
    let size = TerminalSize { columns: size.ws_col, rows: size.ws_row };
    (size.columns > 0 && size.rows > 0).then_some(size)
}

/// Keeps the last output of each step for the report of a failure, whether progress is shown or not.
pub struct Tails {
    steps: Steps,
}

impl Default for Tails {
    fn default() -> Tails {
        Tails { steps: Steps::new(0, log::PATIENCE) }
    }
}

impl Tails {
    /// Takes note of an event; `now` is as for [`Renderer::event`].
    pub fn event(&mut self, now: Duration, event: &Event) {
        self.steps.event(now, event);
    }

    /// Returns the last lines, each with its time, of the step that failed first.
    pub fn failed(&self) -> Vec<Vec<u8>> {
        let failed = self.steps.failure();
        failed.into_iter().flat_map(|step| step.log).map(String::into_bytes).collect()
    }
}

#[cfg(test)]
mod tests;

//! HEALTHCHECK (D-186, D-264, D-265).

use castoff_dockerfile::{Command, Healthcheck};

use super::StageLowering;
use super::command::{quoted_character, quoted_list};

impl StageLowering<'_, '_> {
    pub(super) fn healthcheck(&mut self, healthcheck: &Healthcheck) {
        let healthcheck = match healthcheck {
            Healthcheck::None => castoff_oci::Healthcheck {
                test: vec!["NONE".to_owned()],
                ..castoff_oci::Healthcheck::default()
            },
            Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } => {
                // The runtime adds the shell, so only the text is stored.
                let test = match command {
                    Command::Exec(argv) => [&["CMD".to_owned()], argv.as_slice()].concat(),
                    Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                };
                castoff_oci::Healthcheck {
                    test,
                    interval: *interval,
                    timeout: *timeout,
                    start_period: *start_period,
                    start_interval: *start_interval,
                    retries: *retries,
                }
            }
        };
        self.record(
            format!(
                // The words of BuildKit, which prints a structure with `%q` (D-295).
                "HEALTHCHECK &{{{} \"{}\" \"{}\" \"{}\" \"{}\" {}}}",
                quoted_list(&healthcheck.test),
                duration(healthcheck.interval),
                duration(healthcheck.timeout),
                duration(healthcheck.start_period),
                duration(healthcheck.start_interval),
                quoted_character(healthcheck.retries),
            ),
            None,
        );
        self.state.config.config.healthcheck = Some(healthcheck);
    }
}

/// Returns nanoseconds as Go prints a duration: `5m0s`, `1.5s`, `300ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(total, 1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

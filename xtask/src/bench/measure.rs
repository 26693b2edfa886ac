//! Time, memory and disk of command lines.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command::{capture, show, tail};

/// How a build ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// Well, after so many seconds.
    Done(f64),
    /// The builder says that it cannot do this yet.
    Unsupported(String),
    /// With these last words.
    Failed(String),
}

/// Runs command lines one after another and takes the time of all.
pub(super) fn time(commands: Vec<Command>, log: &Path) -> Result<Outcome> {
    let started = Instant::now();
    for mut command in commands {
        let status = start(&mut command, log)?.wait()?;
        if !status.success() {
            return failure(log, &command);
        }
    }
    Ok(Outcome::Done(started.elapsed().as_secs_f64()))
}

/// Runs several series of command lines side by side and takes the time until the last ends.
pub(super) fn time_together(series: Vec<Vec<Command>>, log: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let outcomes: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> = series
            .into_iter()
            .enumerate()
            .map(|(number, commands)| {
                let log = log.with_extension(format!("{number}.log"));
                scope.spawn(move || time(commands, &log))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for outcome in outcomes {
        let outcome = outcome?;
        if !matches!(outcome, Outcome::Done(_)) {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Done(started.elapsed().as_secs_f64()))
}

/// Runs command lines and returns the largest resident memory of a process of theirs, in bytes. The time
/// has a millisecond or two of the program in between.
pub(super) fn peak(commands: Vec<Command>, log: &Path) -> Result<(Outcome, u64)> {
    let started = Instant::now();
    let report = log.with_extension("memory");
    let mut peak = 0;
    for command in commands {
        // A small program in between, because a child starts with the peak of whoever started it.
        let mut wrapped = Command::new("time");
        wrapped.args(["--quiet", "--format", "%M", "--output"]).arg(&report);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        let status = start(&mut wrapped, log)?.wait()?;
        if !status.success() {
            return Ok((failure(log, &command)?, peak));
        }
        let text = fs::read_to_string(&report)?;
        let kilobytes: u64 = text.trim().parse().with_context(|| format!("`time` printed `{text}`"))?;
        peak = peak.max(kilobytes << 10);
    }
    Ok((Outcome::Done(started.elapsed().as_secs_f64()), peak))
}

fn start(command: &mut Command, log: &Path) -> Result<std::process::Child> {
    let file = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("cannot start `{}`", show(command)))
}

fn failure(log: &Path, command: &Command) -> Result<Outcome> {
    let said = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let unsupported = said.lines().find(|line| line.contains("not supported"));
    Ok(match unsupported {
        Some(line) => Outcome::Unsupported(line.trim().to_owned()),
        None => Outcome::Failed(format!("{}\n{}", show(command), tail(&said, 12))),
    })
}

/// Returns the blocks below a directory, in bytes.
pub(super) fn disk(directory: &Path) -> Result<u64> {
    if !directory.exists() {
        return Ok(0);
    }
    let mut command = Command::new("du");
    let printed =
        capture(command.args(["--summarize", "--one-file-system", "--block-size=1"]).arg(directory))?;
    let bytes = printed.split_whitespace().next().unwrap_or_default();
    bytes.parse().with_context(|| format!("`du` printed `{printed}`"))
}

/// Writes back what earlier work left in memory, so that the next does not wait for it.
pub(super) fn settle() -> Result<()> {
    capture(&mut Command::new("sync")).map(drop)
}

/// Forgets how much memory processes have had at most.
pub(super) fn forget_peaks(pids: &[u32]) -> Result<()> {
    for pid in pids {
        fs::write(format!("/proc/{pid}/clear_refs"), "5")
            .with_context(|| format!("cannot reset the peak of process {pid}"))?;
    }
    Ok(())
}

/// Returns the largest resident memory of processes since it was forgotten, added up, in bytes.
pub(super) fn peaks(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        sum += kilobytes(&status, "VmHWM:").with_context(|| format!("process {pid} has no peak"))? << 10;
    }
    Ok(sum)
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}

/// Returns a process and those that it started.
pub(super) fn pids_below(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    pids
}

/// Lowest, median and highest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

/// Returns the spread of numbers, if there are any.
pub(super) fn spread(numbers: &[f64]) -> Option<Spread> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => return None,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    Some(Spread { least: sorted[0], median, most: sorted[sorted.len() - 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |numbers: &[f64], median| assert_eq!(spread(numbers).unwrap().median, median);
        check(&[3.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_peak_is_read_from_the_status() {
        let status = "Name:\tdockerd\nVmPeak:\t  10 kB\nVmHWM:\t    5120 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(5120));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn what_cannot_be_done_yet_is_told_from_a_failure() {
        let log = std::env::temp_dir().join(format!("xtask-measure-{}", std::process::id()));
        let run = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            time(vec![command], &log).unwrap()
        };
        assert!(matches!(run("true"), Outcome::Done(_)));
        assert_eq!(
            run("echo error: push is not supported yet >&2; exit 1"),
            Outcome::Unsupported("error: push is not supported yet".to_owned())
        );
        assert!(matches!(run("exit 3"), Outcome::Failed(_)));
        fs::remove_file(&log).unwrap();
    }
}

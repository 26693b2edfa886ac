//! HEALTHCHECK (D-264, D-265).

use crate::flags::{FlagKind, Flags, Head};
use crate::instruction::command::command;
use crate::instruction::{flagged, whole};
use crate::scope::{Scope, shown};
use crate::words::trim;
use crate::{Command, Healthcheck};

/// Shortest interval that is not zero.
const MILLISECOND: i64 = 1_000_000;

/// Parses HEALTHCHECK.
pub(super) fn parse(scope: &mut Scope<'_>, head: &Head) -> Option<Healthcheck> {
    let text = &scope.joined.text;
    let arguments = head.arguments.clone();
    let length = text[arguments.clone()].find(char::is_whitespace).unwrap_or(arguments.len());
    let kind = arguments.start..arguments.start + length;
    let rest = trim(text, kind.end..arguments.end);
    match text[kind.clone()].to_ascii_uppercase().as_str() {
        "" => {
            scope.error(whole(head), "HEALTHCHECK requires at least one argument");
            None
        }
        "NONE" => {
            if !rest.is_empty() {
                scope.error(rest, "HEALTHCHECK NONE takes no arguments");
                return None;
            }
            Some(Healthcheck::None)
        }
        "CMD" => {
            let allowed = [
                ("interval", FlagKind::Value),
                ("timeout", FlagKind::Value),
                ("start-period", FlagKind::Value),
                ("start-interval", FlagKind::Value),
                ("retries", FlagKind::Value),
            ];
            flagged(scope, head, &allowed, |scope, flags| {
                let interval = duration(scope, flags, "interval");
                let timeout = duration(scope, flags, "timeout");
                let start_period = duration(scope, flags, "start-period");
                let start_interval = duration(scope, flags, "start-interval");
                let retries = retries(scope, flags);
                let command = match command(scope, rest)? {
                    Command::Shell(text) if text.value.is_empty() => None,
                    Command::Exec(arguments) if arguments.is_empty() => None,
                    command => Some(command),
                };
                let Some(command) = command else {
                    scope.error(kind, "Missing command after HEALTHCHECK CMD");
                    return None;
                };
                Some(Healthcheck::Command {
                    command,
                    interval: interval?,
                    timeout: timeout?,
                    start_period: start_period?,
                    start_interval: start_interval?,
                    retries: retries?,
                })
            })
        }
        other => {
            let message = format!("Unknown type \"{}\" in HEALTHCHECK (try CMD)", shown(other));
            scope.error(kind, message);
            None
        }
    }
}

/// Reads a flag that is a duration; absent means zero. Returns `None` after reporting an error.
fn duration(scope: &mut Scope<'_>, flags: &Flags, name: &str) -> Option<i64> {
    let Some(value) = flags.value(name) else { return Some(0) };
    if value.value.is_empty() {
        return Some(0);
    }
    match parse_duration(&value.value) {
        None => {
            let message = format!("invalid duration \"{}\" of --{name}", shown(&value.value));
            scope.error_at(value.span, message);
            None
        }
        Some(0) => Some(0),
        Some(nanoseconds) if nanoseconds < MILLISECOND => {
            scope.error_at(value.span, format!("--{name} cannot be less than 1ms"));
            None
        }
        Some(nanoseconds) => Some(nanoseconds),
    }
}

fn retries(scope: &mut Scope<'_>, flags: &Flags) -> Option<i64> {
    let Some(value) = flags.value("retries") else { return Some(0) };
    if value.value.is_empty() {
        return Some(0);
    }
    match value.value.parse::<i32>() {
        Ok(number) if number >= 0 => Some(i64::from(number)),
        Ok(number) => {
            scope.error_at(value.span, format!("--retries cannot be negative ({number})"));
            None
        }
        Err(_) => {
            let message = format!("invalid number \"{}\" of --retries", shown(&value.value));
            scope.error_at(value.span, message);
            None
        }
    }
}

/// Parses a duration the way Go writes it, such as `1m30s` or `1.5h`, to nanoseconds.
fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let whole_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = unit_nanoseconds(unit)?;
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(part(fraction, unit))?;
        rest = after;
    }
    Some(if negative { -total } else { total })
}

/// Returns the nanoseconds of the digits after a decimal point.
fn part(digits: &str, unit: i64) -> i64 {
    let mut scale = unit;
    let mut total = 0;
    for digit in digits.bytes() {
        scale /= 10;
        total += i64::from(digit - b'0') * scale;
    }
    total
}

fn unit_nanoseconds(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // Both the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => MILLISECOND,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

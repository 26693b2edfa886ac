//! Signal names, as STOPSIGNAL takes them (D-262).

/// Linux signals without `SIG`, real-time ones apart.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Returns whether a text is a positive number or the name of a signal, with or without `SIG`.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number > 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || real_time(name)
}

fn real_time(name: &str) -> bool {
    let within =
        |number: &str, most: u32| number.parse().is_ok_and(|number: u32| (1..=most).contains(&number));
    name.strip_prefix("RTMIN+").is_some_and(|number| within(number, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|number| within(number, 14))
}

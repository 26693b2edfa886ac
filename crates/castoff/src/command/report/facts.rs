//! What the first screen of the page says, which is there without any script: how large, how long, what of that one
//! waited for, what was cast off, whether a secret got out and whether it will start.

use serde_json::Value;

use crate::command::builds::first_line;
use crate::table;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) label: &'static str,
    /// The answer in a word or a number.
    pub(super) value: String,
    /// A sentence about it.
    pub(super) detail: String,
    /// How it is meant.
    pub(super) mood: Mood,
    /// The part of the page that has more.
    pub(super) section: &'static str,
}

/// How an answer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Mood {
    /// Returns its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Mood::Plain => "plain",
            Mood::Good => "good",
            Mood::Doubtful => "doubtful",
            Mood::Bad => "bad",
        }
    }
}

/// Returns the answers in the order in which they are shown.
pub(super) fn of(document: &Value) -> Vec<Fact> {
    let [time, critical] = times(document);
    vec![size(document), time, critical, cast_off(document), secrets(document), start(document)]
}

fn size(document: &Value) -> Fact {
    let contents = &document["contents"];
    let layers = list(&document["layers"]).filter(|layer| layer["shipped"] == true).count();
    let in_vain = number(&contents["inVain"]);
    let mut detail = format!(
        "{} in {}",
        counted(number(&contents["fileCount"]), "file", "files"),
        counted(layers as u64, "layer", "layers")
    );
    if in_vain > 0 {
        detail.push_str(&format!("; {} of it in vain", bytes(in_vain)));
    }
    let value = bytes(number(&contents["bytes"]));
    Fact { label: "Size", value, detail, mood: Mood::Plain, section: "sizes" }
}

fn times(document: &Value) -> [Fact; 2] {
    let fact = |label, value: String, detail: String| Fact {
        label,
        value,
        detail,
        mood: Mood::Plain,
        section: "time",
    };
    let (time, build) = (&document["time"], &document["build"]);
    if time.is_null() {
        let unknown = || "unknown".to_owned();
        let why = "no build of this image is remembered on this machine";
        return [
            fact("Build time", unknown(), why.to_owned()),
            fact("Critical path", unknown(), "only a build that is remembered has one".to_owned()),
        ];
    }
    let steps: Vec<&Value> = list(&build["steps"]).collect();
    let count = |verdict: &str| {
        let work =
            |step: &&&Value| matches!(step["action"]["kind"].as_str(), Some("run" | "copy" | "workdir"));
        steps.iter().filter(work).filter(|step| step["verdict"] == verdict).count() as u64
    };
    let (executed, cached) = (count("executed"), count("cached"));
    let all_cached = executed == 0 && cached > 0;
    let took = number(&time["tookMs"]);
    let detail = if all_cached {
        let once = seconds(number(&time["uncached"]["workMs"]));
        format!("{} cached, none executed; made once in {once}", counted(cached, "step", "steps"))
    } else {
        let steps = counted(executed, "step", "steps");
        format!("{steps} executed, {cached} cached; {} of work", seconds(number(&time["workMs"])))
    };
    // Where everything was cached, what there was to wait for is what would be without.
    let (label, way, key) = match all_cached {
        true => ("Critical path, uncached", &time["uncached"], "makingMs"),
        false => ("Critical path", &time["critical"], "tookMs"),
    };
    // What took no time was waited for by nobody.
    let on_it = || {
        let steps = list(&way["steps"]).filter_map(|place| steps.get(place.as_u64()? as usize));
        steps.filter(|step| number(&step[key]) > 0)
    };
    let longest = on_it().max_by_key(|step| number(&step[key]));
    let total = number(&way["ms"]);
    let on_way = match longest {
        Some(step) => {
            let share = percent(number(&step[key]), total);
            let steps = counted(on_it().count() as u64, "step", "steps");
            format!("{steps}, {share} of it {}", brief(step))
        }
        None => "nothing took any time".to_owned(),
    };
    [fact("Build time", seconds(took), detail), fact(label, seconds(total), on_way)]
}

fn cast_off(document: &Value) -> Fact {
    let contents = &document["contents"];
    let fact = |value: String, detail: String, mood| Fact {
        label: "Cast off",
        value,
        detail,
        mood,
        section: "sizes",
    };
    let Some(off) = contents["castOff"].as_u64() else {
        return fact("unknown".to_owned(), "only a build that is remembered tells".to_owned(), Mood::Plain);
    };
    let behind = list(&contents["stages"]).filter(|stage| stage["shipped"] != true).count();
    if behind == 0 || off == 0 {
        return fact("nothing".to_owned(), "all that was built is in the image".to_owned(), Mood::Plain);
    }
    let stages = counted(behind as u64, "stage", "stages");
    let share = percent(off, off + number(&contents["bytes"]));
    fact(bytes(off), format!("{share} of all bytes, in {stages} left behind"), Mood::Good)
}

fn secrets(document: &Value) -> Fact {
    let fact = |value: String, detail: String, mood| Fact {
        label: "Secrets",
        value,
        detail,
        mood,
        section: "secrets",
    };
    let statement = &document["secrets"]["statement"];
    if statement.is_null() {
        return fact("unknown".to_owned(), "it could not be found out".to_owned(), Mood::Doubtful);
    }
    let (found, tokens) = (list(&statement["found"]).count(), list(&statement["tokens"]).count());
    let secrets: Vec<&str> = list(&statement["secrets"]).filter_map(Value::as_str).collect();
    let looked = format!("{}, config and history", counted(number(&statement["layers"]), "layer", "layers"));
    let too_short = list(&statement["tooShort"]).count();
    if found > 0 {
        let detail = format!("{} in what the build gave away", counted(found as u64, "place", "places"));
        return fact("got out".to_owned(), detail, Mood::Bad);
    }
    if tokens > 0 {
        let suspects = format!(
            "{} like a token or key in {looked}",
            counted(tokens as u64, "thing looks", "things look")
        );
        return match secrets.len() {
            0 => fact("look twice".to_owned(), suspects, Mood::Doubtful),
            _ => fact("none got out".to_owned(), format!("but {suspects}"), Mood::Doubtful),
        };
    }
    if too_short > 0 {
        let detail = "a secret is too short or too plain to be looked for";
        return fact("not proved".to_owned(), detail.to_owned(), Mood::Doubtful);
    }
    match &secrets[..] {
        [] => fact("none seen".to_owned(), format!("nothing looks like one in {looked}"), Mood::Good),
        [one] => fact("none got out".to_owned(), format!("{one} is not in {looked}"), Mood::Good),
        several => {
            let detail = format!("none of {} is in {looked}", several.len());
            fact("none got out".to_owned(), detail, Mood::Good)
        }
    }
}

fn start(document: &Value) -> Fact {
    let start = &document["start"];
    let fact = |value: &str, detail: String, mood| Fact {
        label: "Will it start?",
        value: value.to_owned(),
        detail,
        mood,
        section: "start",
    };
    if start.is_null() {
        return fact("unknown", "it could not be found out".to_owned(), Mood::Doubtful);
    }
    let first = list(&start["findings"]).next().and_then(|finding| finding["message"].as_str());
    let first = first.map(|message| message.replace('`', ""));
    match (start["canStart"] == true, first) {
        (false, first) => fact("no", first.unwrap_or_default(), Mood::Bad),
        (true, Some(first)) => fact("perhaps", first, Mood::Doubtful),
        (true, None) => fact("yes", "program, loader, libraries, user and modes fit".to_owned(), Mood::Good),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { several })
}

/// Returns a number with its digits in threes.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a size as tables show it, with a blank before the unit.
fn bytes(count: u64) -> String {
    let text = table::bytes(count);
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    format!("{}\u{a0}{}", &text[..unit], &text[unit..])
}

fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}\u{a0}ms"),
        1_000..60_000 => format!("{:.1}\u{a0}s", milliseconds as f64 / 1000.0),
        _ => {
            let seconds = (milliseconds + 500) / 1000;
            format!("{}\u{a0}min {}\u{a0}s", seconds / 60, seconds % 60)
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0\u{a0}%".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    // All but a little is not all.
    let digits = usize::from(share > 99.0 && part < whole);
    let share = if part < whole { share.min(99.9) } else { share };
    format!("{share:.digits$}\u{a0}%")
}

/// Returns what a step does, without its flags, and its stage.
fn brief(step: &Value) -> String {
    const MOST: usize = 48;
    let name = first_line(step["name"].as_str().unwrap_or_default());
    let text = match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, instruction)) => instruction,
        None => &name,
    };
    // Between lines that were joined there may be several blanks.
    let is_flag = |word: &&str| word.is_empty() || word.starts_with("--");
    let mut words = text.split(' ');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words.skip_while(is_flag) {
        text.push(' ');
        text.push_str(word);
    }
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.replace_range(end.., "...");
    }
    match step["stage"].as_str() {
        Some(stage) => format!("{text} in {stage}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;

//! Charts as SVG, drawn by hand: bars for the table, lines for growth. They follow the reader's choice of
//! light or dark.

use std::fmt::Write as _;

use super::measure::spread;
use super::report::{RowResult, seconds};

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.small{font-size:10px;fill:#59636e}.grid{stroke:#d1d9e0}\
.axis{stroke:#59636e}.back{fill:#fff}.limit{stroke:#1f2328;stroke-width:2}\
.c0{fill:#e8590c;stroke:#e8590c}.c1{fill:#5c7cfa;stroke:#5c7cfa}.c2{fill:#868e96;stroke:#868e96}\
.c3{fill:#1098ad;stroke:#1098ad}.c4{fill:#ae3ec9;stroke:#ae3ec9}.c5{fill:#66a80f;stroke:#66a80f}\
polyline.line{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#30363d}\
.axis{stroke:#9198a1}.back{fill:#0d1117}.limit{stroke:#e6edf3}}";

const LEFT: f64 = 96.0;
const WIDTH: f64 = 860.0;
const BAR: f64 = 11.0;
const GAP: f64 = 10.0;
const TOP: f64 = 56.0;

/// A scale on which each step to the right is ten times as much.
struct Log {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Log {
    /// A scale over the powers of ten that hold all numbers.
    fn over(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Log> {
        let (least, most) = numbers
            .filter(|number| *number > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), number| (least.min(number), most.max(number)));
        if most == 0.0 {
            return None;
        }
        let least = least.log10().floor();
        let most = most.log10().ceil().max(least + 1.0);
        Some(Log { least, most, from, to })
    }

    fn at(&self, number: f64) -> f64 {
        let share = (number.log10() - self.least) / (self.most - self.least);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 10f64.powi(power))
    }
}

/// Draws a group of bars for each row, and the limit as a mark.
pub(super) fn bars(rows: &[RowResult], builders: &[String], caption: &str) -> String {
    let all = rows
        .iter()
        .flat_map(|row| row.cells.iter().flat_map(|cell| cell.seconds.iter()).chain(&row.limit).copied());
    let right = WIDTH - 70.0;
    let Some(scale) = Log::over(all, LEFT, right) else { return document(WIDTH, TOP, "") };
    let group = |row: &RowResult| row.cells.len() as f64 * BAR + GAP;
    let bottom = TOP + rows.iter().map(group).sum::<f64>();
    let mut body = String::new();
    legend(&mut body, builders, true);
    for power in scale.powers() {
        let x = scale.at(power);
        push(
            &mut body,
            format!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"),
        );
        push(&mut body, text(x, TOP - 6.0, "middle", "small", &short(power)));
    }
    let mut y = TOP + GAP / 2.0;
    for row in rows {
        let middle = y + (group(row) - GAP) / 2.0 + 4.0;
        push(&mut body, format!("<g><title>{}</title>", escaped(&row.title)));
        push(&mut body, text(LEFT - 8.0, middle, "end", "", &row.name));
        let start = y;
        for cell in &row.cells {
            let color = builders.iter().position(|name| *name == cell.builder).unwrap_or_default();
            match spread(&cell.seconds) {
                Some(times) => {
                    let x = scale.at(times.median);
                    push(
                        &mut body,
                        format!(
                            "<rect class=\"c{color}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                            y + 1.0,
                            (x - LEFT).max(1.0),
                            BAR - 2.0
                        ),
                    );
                    push(&mut body, text(x + 4.0, y + BAR - 2.0, "start", "small", &seconds(times.median)));
                }
                None => push(&mut body, text(LEFT + 4.0, y + BAR - 2.0, "start", "small", "not measured")),
            }
            y += BAR;
        }
        if let Some(limit) = spread(&row.limit) {
            let x = scale.at(limit.median);
            push(
                &mut body,
                format!(
                    "<line class=\"limit\" x1=\"{x:.1}\" y1=\"{start:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>"
                ),
            );
        }
        push(&mut body, "</g>".to_owned());
        y += GAP;
    }
    push(
        &mut body,
        format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{LEFT}\" y2=\"{bottom:.1}\"/>"),
    );
    push(&mut body, text(LEFT, bottom + 18.0, "start", "small", caption));
    document(WIDTH, bottom + 28.0, &body)
}

/// A chart of its own among others: lines of time against size, both on scales of powers of ten.
pub(super) struct Panel {
    pub(super) title: String,
    /// For each builder its points, by size.
    pub(super) lines: Vec<Vec<(f64, f64)>>,
}

/// Draws panels, two beside each other.
pub(super) fn lines(panels: &[Panel], builders: &[String], caption: &str) -> String {
    const PANEL: (f64, f64) = (330.0, 220.0);
    let mut body = String::new();
    legend(&mut body, builders, false);
    for (number, panel) in panels.iter().enumerate() {
        let left = 70.0 + (number % 2) as f64 * (PANEL.0 + 80.0);
        let top = TOP + 20.0 + (number / 2) as f64 * (PANEL.1 + 70.0);
        let (right, bottom) = (left + PANEL.0, top + PANEL.1);
        let points = || panel.lines.iter().flatten();
        let across = Log::over(points().map(|point| point.0), left, right);
        let up = Log::over(points().map(|point| point.1), bottom, top);
        push(&mut body, text(left, top - 10.0, "start", "", &panel.title));
        let (Some(across), Some(up)) = (across, up) else { continue };
        for size in across.powers() {
            let x = across.at(size);
            push(&mut body, grid(x, top, x, bottom));
            push(&mut body, text(x, bottom + 14.0, "middle", "small", &counted(size)));
        }
        for time in up.powers() {
            let y = up.at(time);
            push(&mut body, grid(left, y, right, y));
            push(&mut body, text(left - 6.0, y + 3.0, "end", "small", &short(time)));
        }
        for (color, line) in panel.lines.iter().enumerate() {
            let drawn: Vec<String> = line
                .iter()
                .map(|(size, time)| format!("{:.1},{:.1}", across.at(*size), up.at(*time)))
                .collect();
            push(&mut body, format!("<polyline class=\"c{color} line\" points=\"{}\"/>", drawn.join(" ")));
        }
    }
    let height = TOP + 20.0 + panels.len().div_ceil(2) as f64 * (PANEL.1 + 70.0);
    push(&mut body, text(70.0, height - 10.0, "start", "small", caption));
    document(WIDTH, height, &body)
}

fn grid(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!("<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

/// A power of ten of things.
fn counted(power: f64) -> String {
    match power {
        power if power >= 1e6 => format!("{:.0}M", power / 1e6),
        power if power >= 1e3 => format!("{:.0}k", power / 1e3),
        power => format!("{power:.0}"),
    }
}

fn legend(body: &mut String, builders: &[String], has_limit: bool) {
    let mut x = LEFT;
    for (color, name) in builders.iter().enumerate() {
        push(body, format!("<rect class=\"c{color}\" x=\"{x:.1}\" y=\"12\" width=\"11\" height=\"11\"/>"));
        push(body, text(x + 16.0, 22.0, "start", "", name));
        x += 36.0 + 7.0 * name.len() as f64;
    }
    if !has_limit {
        return;
    }
    push(body, format!("<line class=\"limit\" x1=\"{x:.1}\" y1=\"11\" x2=\"{x:.1}\" y2=\"24\"/>"));
    push(body, text(x + 8.0, 22.0, "start", "", "the bare work"));
}

fn document(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
height=\"{height:.0}\" role=\"img\" aria-label=\"time of builds, by builder\">\n<style>{STYLE}</style>\n\
<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
    )
}

fn push(body: &mut String, element: String) {
    body.push_str(&element);
    body.push('\n');
}

fn text(x: f64, y: f64, anchor: &str, class: &str, words: &str) -> String {
    let mut element = format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
    if !class.is_empty() {
        write!(element, " class=\"{class}\"").expect("a text takes everything");
    }
    element + ">" + &escaped(words) + "</text>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A power of ten of seconds.
fn short(power: f64) -> String {
    match power {
        power if power < 0.001 => format!("{:.0} us", power * 1e6),
        power if power < 1.0 => format!("{:.0} ms", power * 1e3),
        power => format!("{power:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_power_of_ten_is_as_wide_as_the_next() {
        let scale = Log::over([0.02, 50.0].into_iter(), 0.0, 400.0).unwrap();
        assert_eq!(scale.powers().count(), 5);
        assert!((scale.at(0.1) - 100.0).abs() < 1e-9 && (scale.at(10.0) - 300.0).abs() < 1e-9);
        assert!(Log::over(std::iter::empty(), 0.0, 1.0).is_none());
    }

    #[test]
    fn words_cannot_end_an_element() {
        assert_eq!(
            text(1.0, 2.0, "end", "small", "a<b"),
            "<text x=\"1.0\" y=\"2.0\" text-anchor=\"end\" class=\"small\">a&lt;b</text>"
        );
    }
}

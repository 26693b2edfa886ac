//! What casting off the builder is worth: the examples' sizes, one stage against many.

use std::time::Instant;

use anyhow::Result;

use crate::bases;
use crate::castoff::Castoff;
use crate::e2e::{Setting, export, image_name};
use crate::examples::{Example, select};

struct Row {
    name: &'static str,
    /// Bytes of the builder's file system; unknown where the builder is the whole machine.
    single: Option<u64>,
    multi: u64,
    /// Seconds of a build that changes nothing.
    again: f64,
}

/// Builds the named examples, or all, and prints the table.
pub fn main(names: &[String]) -> Result<()> {
    let selected = select(names)?;
    let castoff = Castoff::locate()?;
    let left_out = bases::provide(&castoff)?;
    let mut rows = Vec::new();
    for example in selected {
        if left_out.iter().any(|(base, _)| example.bases.contains(base)) {
            println!("{}: left out, its base is not to be had", example.name);
            continue;
        }
        rows.push(measure(&castoff, example)?);
    }
    print!("{}", table(&rows));
    Ok(())
}

fn measure(castoff: &Castoff, example: &'static Example) -> Result<Row> {
    let setting = Setting::new(example)?;
    let arguments = setting.arguments(example, &["-t", &image_name(example)], true);
    castoff.build(&arguments)?;
    let started = Instant::now();
    castoff.build(&arguments)?;
    let again = started.elapsed().as_secs_f64();
    let size = |stage| -> Result<u64> {
        let tar = export(castoff, example, &setting, stage)?;
        let size = std::fs::metadata(&tar)?.len();
        std::fs::remove_file(&tar)?;
        Ok(size)
    };
    // Where the fat stage is this very machine, its size says nothing.
    let single = if example.on_machine { None } else { Some(size(Some(example.builder))?) };
    Ok(Row { name: example.name, single, multi: size(None)?, again })
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16}{:>14}{:>14}{:>10}{:>12}\n",
        "example", "one stage", "many stages", "saved", "no change"
    );
    for row in rows {
        let (single, saved) = match row.single {
            Some(single) => {
                (megabytes(single), format!("{:.1} %", 100.0 - 100.0 * row.multi as f64 / single as f64))
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        let multi = megabytes(row.multi);
        text += &format!("{:<16}{single:>14}{multi:>14}{saved:>10}{:>10.2} s\n", row.name, row.again);
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up() {
        let rows = [
            Row { name: "go-server", single: Some(800_000_000), multi: 5_000_000, again: 0.125 },
            Row { name: "rust-self", single: None, multi: 12_000_000, again: 1.0 },
        ];
        let expected = "\
example              one stage   many stages     saved   no change
go-server             800.0 MB        5.0 MB    99.4 %      0.12 s
rust-self                    -       12.0 MB         -      1.00 s
";
        assert_eq!(table(&rows), expected);
    }
}

//! What two images differ in.

use castoff_inspect::diff::{Comparison, config_changes};
use castoff_layer::View;
use castoff_oci::{HistoryEntry, ImageConfig};

use crate::kit::Image;

/// Compares and returns each change as `path: aspects`, `+ path` or `- path`.
fn changes(before: &Image, after: &Image, times: bool) -> Vec<String> {
    let (before, after) = (before.view(), after.view());
    let mut lines = Vec::new();
    Comparison { before: &before, after: &after, times }
        .run(&mut |change| {
            let path = String::from_utf8_lossy(&change.path).into_owned();
            let aspects: Vec<&str> = change.aspects.iter().map(|aspect| aspect.name()).collect();
            lines.push(match (change.before, change.after) {
                (None, _) => format!("+ {path}"),
                (_, None) => format!("- {path}"),
                _ => format!("{path}: {}", aspects.join(" ")),
            });
        })
        .unwrap();
    lines
}

fn image() -> Image {
    Image::new(&[])
        .file("etc/same", 0o644, "same")
        .file("etc/text", 0o644, "one")
        .file("etc/long", 0o644, "one")
        .file("bin/tool", 0o755, "tool")
        .link("bin/link", "tool")
        .file("gone/in/here", 0o644, "x")
        .file("turns", 0o644, "x")
}

#[test]
fn every_kind_of_difference_is_told() {
    let before = image();
    let after = Image::new(&[])
        .file("etc/same", 0o644, "same")
        .file("etc/text", 0o644, "two")
        .file("etc/long", 0o600, "three")
        .file("bin/tool", 0o711, "tool")
        .link("bin/link", "other")
        .file("new/x", 0o644, "x")
        .file("turns/x", 0o644, "x");
    let expected = [
        "- gone",
        "+ new",
        "turns: type mode",
        "bin/link: link",
        "bin/tool: mode",
        "etc/long: mode size content",
        "etc/text: content",
        "- gone/in",
        "- gone/in/here",
        "+ new/x",
        "+ turns/x",
    ];
    assert_eq!(changes(&before, &after, false), expected);
}

#[test]
fn equal_images_differ_in_nothing_but_times() {
    let (before, after) = (image(), image());
    assert_eq!(changes(&before, &after, false), Vec::<String>::new());
    let file = std::fs::File::open(after.path("etc/same")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(changes(&before, &after, false), Vec::<String>::new());
    assert!(changes(&before, &after, true).contains(&"etc/same: time".to_owned()));
    let mut all = Vec::new();
    let (view, empty) = (before.view(), View::empty());
    let comparison = Comparison { before: &empty, after: &view, times: false };
    comparison.run(&mut |change| all.push(change.path)).unwrap();
    assert_eq!(all.len(), 11);
}

#[test]
fn configs_are_compared_part_by_part() {
    let entry = |text: &str, created: &str| HistoryEntry {
        created_by: Some(text.to_owned()),
        created: Some(created.to_owned()),
        ..HistoryEntry::default()
    };
    let mut before = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
    before.config.env = Some(vec!["PATH=/bin".to_owned(), "A=1".to_owned()]);
    before.config.cmd = Some(vec!["sh".to_owned()]);
    before.history = vec![entry("ADD base", "t1"), entry("RUN a", "t2"), entry("CMD sh", "t3")];
    let mut after = before.clone();
    after.created = Some("now".to_owned());
    after.history[0].created = Some("t9".to_owned());
    assert_eq!(config_changes(&before, &after, false), []);
    assert_eq!(config_changes(&before, &after, true).len(), 2);
    after.config.env = Some(vec!["PATH=/bin:/sbin".to_owned(), "B=2".to_owned()]);
    after.config.cmd = None;
    after.history.remove(1);
    after.history.insert(1, entry("RUN b", "t2"));
    after.history.insert(2, entry("RUN c", "t2"));
    let told: Vec<String> = config_changes(&before, &after, false)
        .into_iter()
        .map(|change| {
            let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{}: {} {}", change.name, text(change.before), text(change.after))
        })
        .collect();
    let expected = [
        "config.Cmd: [\"sh\"] -",
        "config.Env A: 1 -",
        "config.Env B: - 2",
        "config.Env PATH: /bin /bin:/sbin",
        "history: RUN a RUN b",
        "history: - RUN c",
    ];
    assert_eq!(told, expected);
}

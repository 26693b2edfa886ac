//! Documents against the schemas of their formats (`schemas/`).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Checks that a document fits a schema, and that it would not without a field of the first thing in it that a path
/// of keys leads to. Outside of CI the program that checks may be missing.
#[track_caller]
pub fn fits(schema: &str, document: &serde_json::Value, path: &[&str], field: &str) {
    let Some(said) = check(schema, document) else { return };
    assert_eq!(said, "it fits\n", "{document:#}");
    let mut broken = document.clone();
    let place = path.iter().fold(&mut broken, |value, key| match key.parse::<usize>() {
        Ok(place) => &mut value[place],
        Err(_) => &mut value[*key],
    });
    assert!(place.as_object_mut().unwrap().remove(field).is_some(), "{path:?} has no {field}");
    assert!(check(schema, &broken).unwrap().contains(field), "the check does not find what is wrong");
}

fn check(schema: &str, document: &serde_json::Value) -> Option<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemas");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", include_str!("schemas/check.py")]).arg(&directory).arg(schema);
    let child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "python3: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

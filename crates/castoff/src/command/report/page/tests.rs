use serde_json::json;

use super::*;

/// Everything that somebody else may have written.
const HOSTILE: &str = "</script><script>alert(1)</script><!--\u{2028}\"'&`<img src=x onerror=alert(2)>\\";

fn page(document: &Value) -> String {
    of(document).unwrap()
}

/// Returns the text between a start and the next end.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let from = text.find(start).expect("the start is there") + start.len();
    &text[from..from + text[from..].find(end).expect("the end is there")]
}

// Names in images, labels, instructions and messages are markup to nobody.
#[test]
fn hostile_text_stays_text() {
    let table = json!({ "depth": [0], "name": [HOSTILE], "bytes": [1], "maker": null, "inVain": [], "copied": [], "rests": [] });
    let document = json!({
        "createdAt": HOSTILE,
        "image": { "name": HOSTILE, "id": HOSTILE, "config": { "Labels": { HOSTILE: HOSTILE } } },
        "build": null, "time": null,
        "dockerfile": HOSTILE,
        "contents": { "bytes": 1 },
        "layers": [{ "name": HOSTILE, "shipped": true, "files": table }],
        "packages": { "packages": [{ "name": HOSTILE }] },
        "start": { "canStart": false, "findings": [{ "message": HOSTILE }] },
        "problems": [HOSTILE],
    });
    let text = page(&document);
    for bad in ["<script>alert", "<img", "onerror=alert(2)>\\</", "<!--"] {
        assert!(!text.contains(bad), "{bad}");
    }
    // Two blocks of data and one script.
    assert_eq!(text.matches("<script").count(), 3);
    assert_eq!(text.matches("</script>").count(), 3);
    assert_eq!(text.matches("<style>").count(), 1);
    // The data is what was given, less the tables, which are beside it.
    let data: Value =
        serde_json::from_str(between(&text, "type=\"application/json\" id=\"data\">", "</script>")).unwrap();
    let mut expected = document.clone();
    expected["layers"][0]["files"] = Value::Null;
    assert_eq!(data, expected);
    let files = between(&text, "type=\"application/octet-stream\" id=\"files\">", "</script>");
    let bytes = STANDARD.decode(files).unwrap();
    let tables: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    assert_eq!(tables, json!([table]));
}

#[test]
fn the_policy_allows_what_is_there_and_nothing_else() {
    let text = page(&json!({}));
    let policy =
        between(&text, "http-equiv=\"Content-Security-Policy\" content=\"", "\"").replace("&#39;", "'");
    let script = &text[text.rfind("<script>").unwrap() + 8..text.rfind("</script>").unwrap()];
    let hash = |text: &str| STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
    let expected = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(script),
        hash(between(&text, "<style>", "</style>"))
    );
    assert_eq!(policy, expected);
    // Nothing comes from elsewhere, and no attribute runs or styles anything.
    for bad in ["http://", "https://", " src=", "@import", "url(", " style=\"", " onclick="] {
        let found = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(bad), "{bad}");
    }
}

// The page builds its parts of nodes, and never of strings.
#[test]
fn the_script_makes_no_markup() {
    for bad in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "cssText"]
    {
        assert!(!SCRIPT.contains(bad), "{bad}");
    }
}

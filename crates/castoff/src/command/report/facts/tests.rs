use serde_json::{Value, json};

use super::*;

/// A build of which two steps ran, with a secret that did not get out.
fn document() -> Value {
    let step = |name: &str, kind: &str, verdict: &str, took: u64, making: u64| json!({ "name": name, "stage": "build", "action": { "kind": kind }, "verdict": verdict, "tookMs": took, "makingMs": making });
    json!({
        "build": { "steps": [
            step("[build 1/3] FROM base", "image", "executed", 40, 40),
            step("[build 2/3] COPY . .", "copy", "cached", 1, 200),
            step("[build 3/3] RUN --mount=type=cache,target=/c     --network=none   make --all\nsecond line", "run", "executed", 2_000, 2_000),
            step("[stage-1 1/1] COPY --from=build /out /", "copy", "executed", 60, 60),
        ] },
        "time": {
            "tookMs": 2_345, "workMs": 2_100,
            "critical": { "ms": 2_060, "steps": [2, 3] },
            "uncached": { "ms": 2_300, "workMs": 2_300, "steps": [0, 1, 2, 3] },
        },
        "contents": {
            "bytes": 4_850_000, "inVain": 0, "fileCount": 1_234, "castOff": 963_000_000,
            "stages": [{ "shipped": false }, { "shipped": true }],
        },
        "layers": [{ "shipped": true }, { "shipped": false }],
        "secrets": { "when": "build", "statement": { "secrets": ["token"], "tooShort": [], "found": [], "tokens": [], "layers": 2 } },
        "start": { "canStart": true, "findings": [] },
    })
}

#[track_caller]
fn check(document: &Value, label: &str, value: &str, detail: &str, mood: Mood) {
    let facts = of(document);
    let fact = facts.iter().find(|fact| fact.label == label).expect("the fact is there");
    let plain = |text: &str| text.replace('\u{a0}', " ");
    assert_eq!((plain(&fact.value).as_str(), plain(&fact.detail).as_str(), fact.mood), (value, detail, mood));
}

#[test]
fn the_first_screen_answers_what_one_asks() {
    let document = document();
    check(&document, "Size", "4.85 MB", "1,234 files in 1 layer", Mood::Plain);
    check(&document, "Build time", "2.3 s", "2 steps executed, 1 cached; 2.1 s of work", Mood::Plain);
    let way = "2 steps, 97 % of it RUN make --all in build";
    check(&document, "Critical path", "2.1 s", way, Mood::Plain);
    check(&document, "Cast off", "963 MB", "99.5 % of all bytes, in 1 stage left behind", Mood::Good);
    check(&document, "Secrets", "none got out", "token is not in 2 layers, config and history", Mood::Good);
    check(&document, "Will it start?", "yes", "program, loader, libraries, user and modes fit", Mood::Good);
}

#[test]
fn a_build_from_the_cache_tells_what_it_took_once() {
    let mut document = document();
    for step in document["build"]["steps"].as_array_mut().unwrap() {
        step["verdict"] = "cached".into();
    }
    let detail = "3 steps cached, none executed; made once in 2.3 s";
    check(&document, "Build time", "2.3 s", detail, Mood::Plain);
    let way = "4 steps, 87 % of it RUN make --all in build";
    check(&document, "Critical path, uncached", "2.3 s", way, Mood::Plain);
}

#[test]
fn what_is_wrong_is_said_and_what_is_unknown_is_not_good() {
    let mut bad = document();
    bad["start"] = json!({ "canStart": false, "findings": [{ "message": "`/app` is not in the image" }] });
    bad["secrets"]["statement"]["found"] = json!([{}]);
    bad["contents"]["inVain"] = 1_500_000.into();
    check(&bad, "Will it start?", "no", "/app is not in the image", Mood::Bad);
    check(&bad, "Secrets", "got out", "1 place in what the build gave away", Mood::Bad);
    check(&bad, "Size", "4.85 MB", "1,234 files in 1 layer; 1.50 MB of it in vain", Mood::Plain);
    let mut doubtful = document();
    doubtful["start"] = json!({ "canStart": true, "findings": [{ "message": "no shell" }] });
    doubtful["secrets"]["statement"]["tooShort"] = json!(["pin"]);
    check(&doubtful, "Will it start?", "perhaps", "no shell", Mood::Doubtful);
    let short = "a secret is too short or too plain to be looked for";
    check(&doubtful, "Secrets", "not proved", short, Mood::Doubtful);
    doubtful["secrets"]["statement"]["tokens"] = json!([{}, {}]);
    let tokens = "but 2 things look like a token or key in 2 layers, config and history";
    check(&doubtful, "Secrets", "none got out", tokens, Mood::Doubtful);
    doubtful["secrets"]["statement"]["secrets"] = json!([]);
    check(&doubtful, "Secrets", "look twice", &tokens[4..], Mood::Doubtful);
    let unknown =
        json!({ "contents": { "bytes": 10, "inVain": 0, "fileCount": 1, "castOff": null }, "layers": [] });
    for (label, mood) in [
        ("Build time", Mood::Plain),
        ("Cast off", Mood::Plain),
        ("Secrets", Mood::Doubtful),
        ("Will it start?", Mood::Doubtful),
    ] {
        let facts = of(&unknown);
        let fact = facts.iter().find(|fact| fact.label == label).unwrap();
        assert_eq!((fact.value.as_str(), fact.mood), ("unknown", mood), "{label}");
    }
}

#[test]
fn nearly_all_is_not_all() {
    let plain = |text: String| text.replace('\u{a0}', " ");
    assert_eq!(plain(percent(999_999, 1_000_000)), "99.9 %");
    assert_eq!(plain(percent(5, 5)), "100 %");
    assert_eq!(plain(percent(0, 0)), "0 %");
    assert_eq!(plain(seconds(61_400)), "1 min 1 s");
    assert_eq!(thousands(1_234_567), "1,234,567");
}

//! `castoff report`: the document, and the page in a browser.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kit::{Kit, with_steps, with_steps_as_each_user};
use crate::browser::Browser;

const DOCKERFILE: &str = "# What it says is hostile.\n\
    FROM busybox AS build\n\
    WORKDIR /work\n\
    COPY src/ .\n\
    RUN --mount=type=secret,id=token mkdir -p '/out/d/</script><script>alert(1)</script>' \
    && head -c 400000 /dev/zero > /out/big && cat a > '/out/<img src=x onerror=alert(2)>'\n\
    RUN head -c 900000 /dev/zero > /scratch-pad\n\
    FROM busybox\n\
    LABEL evil=\"</script><script>alert(3)</script>\"\n\
    COPY --from=build /out /app/\n\
    RUN head -c 300000 /dev/zero > /scrap\n\
    RUN rm /scrap\n\
    CMD [\"/bin/busybox\", \"</script><script>alert(4)</script>\"]\n";

fn built(kit: &Kit) {
    kit.write("context/src/a", "one\n");
    kit.write("token", "s3cr3t-0123456789-vAlUe/+x");
    kit.own_all();
    kit.build(DOCKERFILE, &["-t", "app", "--secret", "id=token,src=token"]).succeeds();
}

fn report(kit: &Kit, image: &str) -> Value {
    let done = kit.castoff(&["report", "--format", "json", image]).succeeds();
    serde_json::from_slice(&done.stdout).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// Returns the paths of a table of files, each with its bytes and what is marked.
fn files(layer: &Value) -> Vec<(String, u64, BTreeSet<&'static str>)> {
    let table = &layer["files"];
    let mut directories: Vec<String> = Vec::new();
    let mut files = Vec::new();
    for (row, name) in list(&table["name"]).iter().enumerate() {
        let name = name.as_str().unwrap();
        directories.truncate(table["depth"][row].as_u64().unwrap() as usize);
        if name.ends_with('/') {
            directories.push(name.to_owned());
            continue;
        }
        let is_in = |marks: &str| list(&table[marks]).iter().any(|marked| *marked == row);
        let marks = ["inVain", "copied"].into_iter().filter(|marks| is_in(marks)).collect();
        files.push((directories.concat() + name, table["bytes"][row].as_u64().unwrap(), marks));
    }
    files
}

#[test]
fn the_document_has_every_byte_and_where_it_went() {
    with_steps_as_each_user(|kit| {
        built(kit);
        let told = report(kit, "app");
        assert_eq!((told["schema"].as_u64(), &told["problems"]), (Some(1), &serde_json::json!([])));
        assert_eq!(told["dockerfile"], DOCKERFILE);
        assert_eq!(told["secrets"]["when"], "build");
        assert_eq!(told["secrets"]["statement"]["secrets"], serde_json::json!(["token"]));
        assert_eq!(told["start"]["canStart"], true);
        let rules: Vec<&Value> = list(&told["checks"]).iter().map(|check| &check["rule"]).collect();
        assert!(rules.iter().any(|rule| *rule == "UnpinnedBase"), "{rules:?}");

        let layers = list(&told["layers"]);
        let shipped = || layers.iter().filter(|layer| layer["shipped"] == true);
        let sum = |layers: &mut dyn Iterator<Item = &Value>| -> u64 {
            layers.map(|layer| layer["bytes"].as_u64().unwrap()).sum()
        };
        let contents = &told["contents"];
        assert_eq!(Some(sum(&mut shipped())), contents["bytes"].as_u64());
        let mut behind = layers.iter().filter(|layer| layer["shipped"] == false);
        assert_eq!(Some(sum(&mut behind)), contents["castOff"].as_u64());
        let find = |name: &str| {
            let found = layers.iter().find(|layer| layer["name"].as_str().unwrap().contains(name));
            (files(found.unwrap()), found.unwrap())
        };
        let (copied, layer) = find("COPY --from=build");
        let names: Vec<&str> = copied.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(names, ["app/<img src=x onerror=alert(2)>", "app/big"]);
        let row = list(&layer["files"]["name"]).iter().position(|name| name == "big").unwrap();
        let maker = &told["makers"][layer["files"]["maker"][row].as_u64().unwrap() as usize];
        let step = &told["build"]["steps"][maker["step"].as_u64().unwrap() as usize];
        assert!(step["name"].as_str().unwrap().contains("] RUN --mount=type=secret"), "{step:#}");
        let (made, layer) = find("RUN --mount=type=secret");
        assert_eq!((&layer["stage"], layer["shipped"].as_bool()), (&"build".into(), Some(false)));
        let went: Vec<_> = made.iter().filter(|(_, _, marks)| marks.contains("copied")).collect();
        assert_eq!(went.len(), 2, "{made:?}");
        let (scrap, _) = find("RUN head -c 300000");
        assert_eq!(scrap, [("scrap".to_owned(), 300_000, BTreeSet::from(["inVain"]))]);

        let time = &told["time"];
        let waited = list(&time["critical"]["steps"]);
        assert!(!waited.is_empty() && time["tookMs"].as_u64() >= time["critical"]["ms"].as_u64(), "{time:#}");
        // The same of a build that found everything.
        built(kit);
        let again = report(kit, "app");
        assert_eq!(again["layers"], told["layers"]);
        let made = |told: &Value| -> Vec<Value> {
            let steps = list(&told["build"]["steps"]).iter();
            steps
                .filter(|step| step["action"]["kind"] == "run")
                .map(|step| step["makingMs"].clone())
                .collect()
        };
        assert!(made(&again).iter().all(Value::is_u64), "{:?}", made(&again));
    });
}

/// What the report shows of a Dockerfile is what may be kept of it (B-067).
#[test]
fn the_text_of_the_dockerfile_is_kept_without_secrets_and_credentials() {
    let kit = Kit::new();
    kit.write("token", "s3cr3t-0123456789-vAlUe/+x");
    let dockerfile = |comment: &str| format!("FROM busybox\n# {comment}\nCMD [\"sh\"]\n");
    let told = |comment: &str, flags: &[&str]| {
        kit.build(&dockerfile(comment), &[&["-t", "app"], flags].concat()).succeeds();
        report(&kit, "app")["dockerfile"].clone()
    };
    let secret: &[&str] = &["--secret", "id=token,src=token"];
    assert_eq!(told("plain", &[]), dockerfile("plain"));
    assert_eq!(told("s3cr3t-0123456789-vAlUe/+x", secret), dockerfile("*****"));
    assert_eq!(told("other", &[secret, &["--prove=false"]].concat()), Value::Null);
    let address = told("see https://user:password@example.com/x", &[]);
    assert!(!address.as_str().unwrap().contains("password"), "{address}");
    assert!(kit.containing("store/builds", b"s3cr3t-0123456789").is_empty());
}

#[test]
fn an_image_without_a_build_is_told_of_all_the_same() {
    let kit = Kit::new();
    let told = report(&kit, "busybox");
    assert!(told["build"].is_null() && told["time"].is_null() && told["dockerfile"].is_null());
    assert_eq!(told["secrets"]["when"], "report");
    assert_eq!(told["contents"]["castOff"], Value::Null);
    assert!(told["layers"][0]["bytes"].as_u64().unwrap() > 0);
    kit.castoff(&["report", "nothing", "-o", "page.html"]).fails().says("there is no image `nothing`");
    assert!(!kit.path("page.html").exists());
    kit.castoff(&["report", "busybox", "-o", "no/page.html"]).fails();
}

/// What the page says is what a reader sees of it; nothing of the image is markup, and nothing is fetched.
#[test]
fn a_browser_draws_the_page_and_runs_nothing_else() {
    with_steps(|kit| {
        built(kit);
        let done = kit.castoff(&["report", "app", "-o", "page.html"]).succeeds();
        assert_eq!(done.text(), "");
        kit.castoff(&["report", "busybox", "-o", "base.html"]).succeeds();
        let mut browser = Browser::start();
        browser.look("light", 1200, 900);
        browser.open(&kit.path("page.html"));
        let count = |browser: &mut Browser, what: &str| {
            browser.eval(&format!("document.querySelectorAll({what:?}).length")).as_u64().unwrap()
        };
        assert_eq!(count(&mut browser, ".fact"), 6);
        assert_eq!(count(&mut browser, "main > section[hidden]"), 0);
        assert_eq!(count(&mut browser, "script"), 3);
        assert_eq!(count(&mut browser, "img"), 0);
        assert_eq!(count(&mut browser, "#dockerfile .at"), DOCKERFILE.lines().count() as u64);
        assert!(count(&mut browser, ".graph a") >= 7);
        assert!(count(&mut browser, "#time .bar") >= 3);
        assert!(count(&mut browser, ".edge.way") >= 1);
        let secrets = browser.eval("document.getElementById('secrets').innerText");
        assert!(
            secrets.as_str().unwrap().contains("It is not in what was given away, in any form."),
            "{secrets}"
        );
        let config = browser.eval("document.getElementById('config').innerText");
        assert!(config.as_str().unwrap().contains("evil=</script><script>alert(3)</script>"), "{config}");
        walk(&mut browser);

        for (scheme, width) in [("light", 1200), ("dark", 1200), ("light", 400), ("dark", 400)] {
            browser.look(scheme, width, 900);
            let overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(browser.eval(overflow), false, "{scheme} {width}");
            for section in ["top", "sizes"] {
                browser.eval(&format!(
                    "document.querySelector('.{section}, #{section}').scrollIntoView({{behavior: 'instant'}})"
                ));
                let picture = browser.picture();
                let [red, green, blue, _] = picture.at(2, 890);
                let light = u32::from(red) + u32::from(green) + u32::from(blue);
                assert!((light > 600) == (scheme == "light"), "{scheme} {width} {section}: {light}");
                assert!(picture.colours() > 60, "{scheme} {width} {section}: {}", picture.colours());
            }
        }
        browser.open(&kit.path("base.html"));
        assert_eq!(count(&mut browser, "main > section[hidden]"), 3);
        assert!(count(&mut browser, ".treemap .cell") >= 1);
        assert_eq!(browser.complaints, [""; 0]);
    });
}

/// The sizes are walked with the keyboard: into a part and out again.
fn walk(browser: &mut Browser) {
    const CRUMBS: &str = "[...document.querySelectorAll('.crumbs .link')].map(one => one.textContent)";
    let focused = "document.activeElement.getAttribute('aria-label')";
    browser.eval("document.querySelector('.treemap .cell').focus()");
    let first = browser.eval(focused);
    assert!(first.as_str().unwrap().starts_with("the image, "), "{first}");
    browser.press("ArrowRight");
    let second = browser.eval(focused);
    assert!(second.as_str().unwrap().starts_with("build, "), "{second}");
    browser.press("Enter");
    assert_eq!(browser.eval(CRUMBS), serde_json::json!(["the whole build", "build"]));
    // The largest part has the focus: the file that nobody copied, 900 kB.
    browser.press("Enter");
    browser.press("Enter");
    let told = browser.eval("document.querySelector('.told').textContent");
    assert!(told.as_str().unwrap().starts_with("/scratch-pad 900"), "{told}");
    browser.press("Escape");
    browser.press("Escape");
    assert_eq!(browser.eval(CRUMBS), serde_json::json!(["the whole build"]));
    assert_eq!(browser.eval(focused), second);
    let found = "(async () => { const field = document.querySelector('#sizes input'); field.value = 'img src'; \
        field.dispatchEvent(new Event('input')); \
        const cells = () => [...field.nextSibling.querySelectorAll('td:first-child')]; \
        while (!cells().length) await new Promise(requestAnimationFrame); \
        return cells().map(one => one.textContent); })()";
    let found = browser.eval(found);
    let name = "<img src=x onerror=alert(2)>";
    assert_eq!(found, serde_json::json!([format!("/app/{name}"), format!("/out/{name}")]));
    // A link to a step opens the table that it is in.
    browser.eval("location.hash = document.querySelector('.graph a').getAttribute('href')");
    let open = "(async () => { while (!document.getElementById('steps').open) await new Promise(requestAnimationFrame); \
        return document.querySelector('tr.here') !== null; })()";
    assert_eq!(browser.eval(open), true);
}

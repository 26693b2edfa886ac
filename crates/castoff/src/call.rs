//! Questions about a file that are answered without building it: `--call` (B-159 to B-164).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_dockerfile::lint::Preset;
use castoff_graph::LocalName;
use castoff_plan::{Access, Outline, PlanOptions, Planner, Reaching, Target};
use castoff_solver::{Event, World};
use serde_json::{Value, json};

use crate::args::{Call, PlanRequest};
use crate::build::{self, Asking, BuildError, Definition, Internal};
use crate::check::json::Location;
use crate::check::text::Style;
use crate::check::{self, Report, Subject};
use crate::table::Table;

/// An answer, in all of its forms.
#[derive(Debug, Clone)]
pub struct Answer {
    /// For programs.
    pub json: Value,
    /// For people, on standard output.
    pub text: String,
    /// What is wrong with the file, for standard error.
    pub errors: String,
    /// 0, or 1 when a check found something.
    pub status: u8,
}

/// Answers a question about a file.
///
/// # Errors
/// When a file cannot be read, a base image is not found, or, except for a check, the Dockerfile is wrong.
pub fn answer(
    call: Call,
    request: &PlanRequest,
    world: &mut World,
    events: &mut dyn FnMut(Event),
) -> Result<Answer, BuildError> {
    let mut steps = Internal::default();
    let definition = build::read(request, world, &mut steps, events)?;
    match call {
        Call::Check => {
            let report = checked(&definition, request, world, &mut steps, events)?;
            Ok(check_answer(&[report]))
        }
        Call::Targets => {
            definition.refuse_errors(request)?;
            Ok(targets_answer(&definition))
        }
        Call::Outline => {
            definition.refuse_errors(request)?;
            let options = entitled(build::options(request, &definition, world, &mut steps, events)?);
            let planner = Planner::new(&definition.parsed.dockerfile, options.clone());
            // Bases have no arguments, so that they may stay unknown.
            let examined = check::examine(planner, Reaching::Target, &mut |_, _| Ok(None))?;
            if !examined.is_sound() {
                let dockerfile = definition.dockerfile;
                return Err(BuildError::Diagnostics { dockerfile, diagnostics: examined.diagnostics });
            }
            let outline = castoff_plan::outline(&definition.parsed.dockerfile, &options, &examined);
            Ok(outline_answer(&outline, &definition))
        }
        Call::Describe => Ok(describe_answer()),
    }
}

/// Grants everything, because nothing is executed.
pub fn entitled(options: PlanOptions) -> PlanOptions {
    let entitlements = castoff_plan::Entitlements { network_host: true, security_insecure: true };
    PlanOptions { entitlements, ..options }
}

/// Checks a file as BuildKit does: its rules, and bases that are resolved.
fn checked(
    definition: &Definition,
    request: &PlanRequest,
    world: &mut World,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<Report, BuildError> {
    let options = if definition.parsed.has_errors() {
        build::offline_options(request)
    } else {
        entitled(build::options(request, definition, world, steps, events)?)
    };
    let world = &*world;
    let subject = Subject {
        dockerfile: &definition.dockerfile,
        parsed: &definition.parsed,
        options,
        preset: Preset::Build,
        argument: build::argument(request, "BUILDKIT_DOCKERFILE_CHECK"),
        ignore: world.locals.get(&LocalName::Context).and_then(|local| local.ignore.as_ref()),
        lock: &definition.lock,
    };
    let asking =
        Asking { world, dockerfile: &definition.dockerfile, lock: &definition.lock, pull: request.pull };
    check::check(&subject, &mut |planner, question| asking.ask(planner, question, steps, events).map(Some))
}

/// Returns the answer to a check.
pub fn check_answer(reports: &[Report]) -> Answer {
    Answer {
        json: check::json::document(reports),
        text: check::text::findings(reports, Style::BuildKit),
        errors: check::text::errors(reports),
        status: u8::from(!reports.iter().all(Report::is_clean)),
    }
}

fn outline_answer(outline: &Outline, definition: &Definition) -> Answer {
    let location = |lines| Location::of(0, lines);
    let access = |access: &Access| {
        let mut value = json!({ "name": access.name });
        if access.required {
            value["required"] = json!(true);
        }
        value["location"] = json!(location(access.lines));
        value
    };
    let mut value = json!({});
    set(&mut value, "name", outline.name.as_deref());
    set(&mut value, "description", outline.description.as_deref());
    let args: Vec<Value> = outline
        .args
        .iter()
        .map(|argument| {
            let mut value = json!({ "name": argument.name });
            set(&mut value, "description", argument.description.as_deref());
            set(&mut value, "value", argument.value.as_deref());
            value["location"] = json!(location(argument.lines));
            value
        })
        .collect();
    let secrets: Vec<Value> = outline.secrets.iter().map(access).collect();
    let ssh: Vec<Value> = outline.ssh.iter().map(access).collect();
    for (key, list) in [("args", args), ("secrets", secrets), ("ssh", ssh)] {
        if !list.is_empty() {
            value[key] = json!(list);
        }
    }
    value["sources"] = sources(definition);
    Answer { json: value, text: outline_text(outline), errors: String::new(), status: 0 }
}

/// Sets a text that is not empty; BuildKit leaves empty ones out.
fn set(value: &mut Value, key: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        value[key] = json!(text);
    }
}

fn sources(definition: &Definition) -> Value {
    json!([STANDARD.encode(&definition.dockerfile.bytes)])
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut head = Table::with_gap(1, &["TARGET:", outline.name.as_deref().unwrap_or("(default)")]);
        if let Some(description) = &outline.description {
            head.row(["DESCRIPTION:".to_owned(), description.clone()]);
        }
        text.push_str(&format!("{head}\n"));
    }
    if !outline.args.is_empty() {
        let mut table = Table::new(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for argument in &outline.args {
            let optional = |text: &Option<String>| text.clone().unwrap_or_default();
            table.row([argument.name.clone(), optional(&argument.value), optional(&argument.description)]);
        }
        text.push_str(&format!("{table}\n"));
    }
    for (heading, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            let mut table = Table::new(&[heading, "REQUIRED"]);
            for access in list {
                let required = if access.required { "true" } else { "" };
                table.row([access.name.clone(), required.to_owned()]);
            }
            text.push_str(&format!("{table}\n"));
        }
    }
    text
}

fn targets_answer(definition: &Definition) -> Answer {
    let targets = castoff_plan::targets(&definition.parsed.dockerfile);
    let value = |target: &Target| {
        let mut value = json!({});
        set(&mut value, "name", target.name.as_deref());
        if target.default {
            value["default"] = json!(true);
        }
        set(&mut value, "description", target.description.as_deref());
        set(&mut value, "base", Some(&target.base));
        set(&mut value, "platform", target.platform.as_deref());
        value["location"] = json!(Location::of(0, target.lines));
        value
    };
    let list: Vec<Value> = targets.iter().map(value).collect();
    let mut table = Table::with_gap(1, &["TARGET", "DESCRIPTION"]);
    for target in &targets {
        let name = match (&target.name, target.default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        table.row([name, target.description.clone().unwrap_or_default()]);
    }
    Answer {
        json: json!({ "targets": list, "sources": sources(definition) }),
        text: table.to_string(),
        errors: String::new(),
        status: 0,
    }
}

/// Returns the list of calls (B-164).
fn describe_answer() -> Answer {
    const CALLS: [(&str, &str, &[&str]); 4] = [
        ("lint", "Lint a Dockerfile", &["result.json", "result.txt", "result.statuscode"]),
        ("outline", "List all parameters current build target supports", &["result.json", "result.txt"]),
        ("targets", "List all targets current build supports", &["result.json", "result.txt"]),
        ("subrequests.describe", "List available subrequest types", &["result.json", "result.txt"]),
    ];
    let mut table = Table::with_gap(1, &["NAME", "VERSION", "DESCRIPTION"]);
    let mut list = Vec::new();
    for (name, description, metadata) in CALLS {
        table.row([name.to_owned(), VERSION.to_owned(), description.to_owned()]);
        let options = match name {
            "outline" => json!([{ "name": "target", "description": "Target build stage" }]),
            _ => json!([]),
        };
        let metadata: Vec<Value> = metadata.iter().map(|name| json!({ "name": name })).collect();
        list.push(json!({
            "name": format!("frontend.{name}"),
            "version": VERSION,
            "type": "rpc",
            "description": description,
            "opts": options,
            "metadata": metadata,
        }));
    }
    Answer { json: json!(list), text: table.to_string(), errors: String::new(), status: 0 }
}

/// The version of the calls' forms.
const VERSION: &str = "1.0.0";

//! What holds for every build, as functions that panic where it does not. The fuzz targets use them too.

use castoff_dockerfile::Diagnostic;
use castoff_graph::print;
use castoff_oci::{Digest, ImageConfig};
use castoff_plan::{PlanOptions, Planner, ResolvedImage, Step};

/// What a build meets besides the text of its file.
#[derive(Debug, Default)]
pub struct Surroundings {
    pub build_args: Vec<(String, String)>,
    pub target: Option<String>,
    /// Environment and triggers of every base image.
    pub env: Vec<String>,
    pub triggers: Vec<String>,
}

/// Plans a text, whatever the parser thought of it. The planner ends with a plan or with diagnostics that
/// have their places in the text, and asks no question twice.
pub fn plan_to_the_end(source: &[u8], surroundings: &Surroundings) {
    let parsed = castoff_dockerfile::parse(source);
    let mut options = PlanOptions::new("linux/amd64".parse().expect("a platform"));
    options.build_args.clone_from(&surroundings.build_args);
    options.target.clone_from(&surroundings.target);
    let mut planner = Planner::new(&parsed.dockerfile, options);
    let mut asked = Vec::new();
    loop {
        match planner.step() {
            Step::Resolve(questions) => {
                assert!(!questions.is_empty());
                for question in questions {
                    assert!(!asked.contains(&question), "asked twice: {question:?}");
                    planner.provide(&question, image(&question.reference, &question.platform, surroundings));
                    asked.push(question);
                }
            }
            Step::Date(_) => planner.provide_date(None),
            Step::Done(plan) => {
                check_places(&plan.warnings, &parsed.source);
                print::text(&plan.graph, &plan.outputs);
                return;
            }
            Step::Failed(diagnostics) => {
                assert!(!diagnostics.is_empty());
                check_places(&diagnostics, &parsed.source);
                return;
            }
        }
    }
}

fn image(
    reference: &castoff_oci::Reference,
    platform: &castoff_oci::Platform,
    surroundings: &Surroundings,
) -> ResolvedImage {
    let mut config = ImageConfig::default();
    config.config.env = Some(surroundings.env.clone());
    config.config.on_build = Some(surroundings.triggers.clone());
    ResolvedImage {
        reference: reference.clone(),
        manifest: Digest::of(b""),
        platform: platform.clone(),
        runs_here: true,
        config,
    }
}

fn check_places(diagnostics: &[Diagnostic], source: &str) {
    for diagnostic in diagnostics {
        assert!(source.get(diagnostic.span.range()).is_some(), "{diagnostic:?} is outside the text");
    }
}

//! How long it takes to read, check and plan Dockerfiles: an ordinary one, and large ones of every shape
//! that could make an algorithm quadratic. The large shapes come in two sizes; the time must grow with
//! the size and not with its square.

mod shapes;

use castoff_dockerfile::lint::{LintOptions, lint};
use castoff_dockerfile::{Parsed, parse};
use castoff_oci::{DiffId, Digest, ImageConfig};
use castoff_plan::{PlanOptions, Planner, ResolvedImage, Step};
use divan::{Bencher, black_box};

use shapes::{ORDINARY, SHAPES, Shape};

fn main() {
    divan::main();
}

/// Sizes of the large files in KiB.
const SIZES: [usize; 2] = [256, 1024];

fn plan(parsed: &Parsed) -> usize {
    let platform: castoff_oci::Platform = "linux/amd64".parse().expect("a platform");
    let mut planner = Planner::new(&parsed.dockerfile, PlanOptions::new(platform));
    loop {
        match planner.step() {
            Step::Resolve(questions) => {
                for question in questions {
                    let mut config = ImageConfig::default();
                    config.config.env = Some(vec!["PATH=/bin".to_owned()]);
                    config.rootfs.diff_ids.push(DiffId(Digest::of(b"layer")));
                    let image = ResolvedImage {
                        reference: question.reference.clone(),
                        manifest: Digest::of(b"manifest"),
                        platform: question.platform.clone(),
                        runs_here: true,
                        config,
                    };
                    planner.provide(&question, image);
                }
            }
            Step::Date(_) => planner.provide_date(None),
            Step::Done(plan) => return plan.graph.iter().count(),
            Step::Failed(diagnostics) => return diagnostics.len(),
        }
    }
}

fn check(parsed: &Parsed) -> usize {
    lint(&parsed.dockerfile, &parsed.source, &LintOptions::default()).len()
}

mod ordinary {
    use super::*;

    #[divan::bench(name = "parse")]
    fn parse_it() -> Parsed {
        parse(black_box(ORDINARY.as_bytes()))
    }

    #[divan::bench(name = "check")]
    fn check_it(bencher: Bencher) {
        let parsed = parse(ORDINARY.as_bytes());
        bencher.bench(|| check(black_box(&parsed)));
    }

    #[divan::bench(name = "lower")]
    fn lower_it(bencher: Bencher) {
        let parsed = parse(ORDINARY.as_bytes());
        assert!(!parsed.has_errors());
        bencher.bench(|| plan(black_box(&parsed)));
    }

    #[divan::bench]
    fn all_three() -> usize {
        let parsed = parse(black_box(ORDINARY.as_bytes()));
        check(&parsed) + plan(&parsed)
    }
}

#[divan::bench(args = SHAPES, consts = SIZES, sample_count = 3, sample_size = 1)]
fn large_parse<const KIB: usize>(bencher: Bencher, shape: &Shape) {
    let text = shape.text(KIB << 10);
    bencher.bench(|| parse(black_box(text.as_bytes())));
}

#[divan::bench(args = SHAPES, consts = SIZES, sample_count = 3, sample_size = 1)]
fn large_check<const KIB: usize>(bencher: Bencher, shape: &Shape) {
    let parsed = parse(shape.text(KIB << 10).as_bytes());
    bencher.bench(|| check(black_box(&parsed)));
}

#[divan::bench(args = SHAPES, consts = SIZES, sample_count = 3, sample_size = 1)]
fn large_lower<const KIB: usize>(bencher: Bencher, shape: &Shape) {
    let parsed = parse(shape.text(KIB << 10).as_bytes());
    bencher.bench(|| plan(black_box(&parsed)));
}

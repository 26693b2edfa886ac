//! The test kit: a build of a text against a few images that exist nowhere else.

use castoff_dockerfile::{Diagnostic, Severity};
use castoff_graph::print;
use castoff_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use castoff_plan::{Plan, PlanOptions, Planner, Question, ResolvedImage, Step};

/// A build to be planned.
pub struct Build {
    source: String,
    pub options: PlanOptions,
    images: Vec<(String, ImageConfig)>,
    /// Architectures whose programs the machine can run beside its own.
    emulated: Vec<String>,
}

/// Returns a build of a text for linux/amd64.
pub fn build(source: &str) -> Build {
    let options = PlanOptions::new("linux/amd64".parse().expect("a platform"));
    Build { source: source.to_owned(), options, images: Vec::new(), emulated: Vec::new() }
}

/// Returns the config of an image with one layer and a PATH.
pub fn image(env: &[&str]) -> ImageConfig {
    let mut config =
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.config.env = Some(["PATH=/bin"].iter().chain(env).map(|entry| (*entry).to_owned()).collect());
    config.rootfs.diff_ids.push(DiffId(Digest::of(b"layer")));
    config
}

impl Build {
    pub fn with(mut self, change: impl FnOnce(&mut PlanOptions)) -> Build {
        change(&mut self.options);
        self
    }

    pub fn arg(self, name: &str, value: &str) -> Build {
        self.with(|options| options.build_args.push((name.to_owned(), value.to_owned())))
    }

    pub fn target(self, target: &str) -> Build {
        self.with(|options| options.target = Some(target.to_owned()))
    }

    /// Sets the platform of the machine that builds.
    pub fn on(self, platform: &str) -> Build {
        self.with(|options| options.build_platform = platform.parse().expect("a platform"))
    }

    /// Names the platforms to build for.
    pub fn platforms(self, platforms: &[&str]) -> Build {
        let platforms = platforms.iter().map(|text| text.parse().expect("a platform")).collect();
        self.with(|options| options.platforms = platforms)
    }

    /// Adds an image, by its familiar name.
    pub fn image(mut self, name: &str, config: ImageConfig) -> Build {
        self.images.push((name.to_owned(), config));
        self
    }

    /// Lets the machine run the programs of another architecture.
    pub fn emulating(mut self, architecture: &str) -> Build {
        self.emulated.push(architecture.to_owned());
        self
    }

    /// Plans, and returns the images asked for beside the plan.
    pub fn run(&self) -> (Result<Plan, Vec<Diagnostic>>, Vec<Question>) {
        let parsed = castoff_dockerfile::parse(self.source.as_bytes());
        let broken: Vec<&Diagnostic> =
            parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(broken.is_empty(), "the file does not parse: {broken:?}");
        let mut planner = Planner::new(&parsed.dockerfile, self.options.clone());
        let mut asked = Vec::new();
        loop {
            match planner.step() {
                Step::Resolve(questions) => {
                    for question in questions {
                        assert!(!asked.contains(&question), "asked twice: {question:?}");
                        planner.provide(&question, self.answer(&question));
                        asked.push(question);
                    }
                }
                Step::Date(_) => planner.provide_date(Some(77)),
                Step::Done(plan) => return (Ok(*plan), asked),
                Step::Failed(diagnostics) => return (Err(diagnostics), asked),
            }
        }
    }

    pub fn plan(&self) -> Plan {
        match self.run().0 {
            Ok(plan) => plan,
            Err(diagnostics) => panic!("the plan failed: {diagnostics:?}"),
        }
    }

    /// Returns the graph as text; digests are shortened, and the PATH of the base is left out.
    pub fn graph(&self) -> String {
        let plan = self.plan();
        let text = print::text(&plan.graph, &plan.outputs);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("env: PATH="));
        lines.map(|line| shorten(line) + "\n").collect()
    }

    /// Returns the lines of the graph text that start with one of the words.
    pub fn graph_lines(&self, words: &[&str]) -> String {
        let wanted = |line: &&str| {
            let line = line.trim_start();
            words.iter().any(|word| line.starts_with(word))
        };
        self.graph().lines().filter(wanted).map(|line| format!("{}\n", line.trim_start())).collect()
    }

    /// Returns the new history entries; those with a layer have the vertex in front.
    pub fn history(&self) -> String {
        let entries = self.plan().outputs.remove(0).history;
        let line =
            |vertex: Option<castoff_graph::VertexId>| vertex.map_or("--".to_owned(), |id| id.to_string());
        entries.iter().map(|entry| format!("{} {}\n", line(entry.vertex), entry.created_by)).collect()
    }

    /// Returns the `config` object of the image's config as JSON, without its environment's PATH.
    pub fn config(&self) -> String {
        let mut config = self.plan().outputs.remove(0).config.config;
        if let Some(env) = &mut config.env {
            env.retain(|entry| !entry.starts_with("PATH="));
        }
        serde_json::to_string(&config).expect("a config is JSON")
    }

    /// Returns names and places of the steps: `name (first-last)`.
    pub fn names(&self) -> String {
        let plan = self.plan();
        plan.graph.iter().map(|(_, vertex)| shorten(&vertex.name) + "\n").collect()
    }

    /// Returns the warnings of the plan: `rule: text (line N)`.
    pub fn warnings(&self) -> String {
        self.plan().warnings.iter().map(shown).collect()
    }

    /// Returns the errors, with the text they point at and their hints.
    pub fn errors(&self) -> String {
        let diagnostics = self.run().0.expect_err("the plan must fail");
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors
            .map(|error| {
                let place = &self.source[error.span.range()];
                let hints: String = error.hints.iter().map(|hint| format!("  hint: {hint}\n")).collect();
                format!("{} @{} `{place}`\n{hints}", error.message, error.lines.0)
            })
            .collect()
    }

    /// Returns the images asked for, in order.
    pub fn questions(&self) -> String {
        let questions = self.run().1;
        questions.iter().map(|asked| format!("{} {}\n", asked.reference, asked.platform)).collect()
    }

    fn answer(&self, question: &Question) -> ResolvedImage {
        let familiar = question.reference.familiar();
        let known = self.images.iter().find(|(name, _)| {
            let reference: Reference = name.parse().expect("a reference");
            reference == question.reference
        });
        let mut config = known.map_or_else(|| image(&[]), |(_, config)| config.clone());
        if known.is_none() {
            question.platform.os.clone_into(&mut config.os);
            question.platform.architecture.clone_into(&mut config.architecture);
            config.variant.clone_from(&question.platform.variant);
        }
        let platform = Platform::normalised(&config.os, &config.architecture, config.variant.as_deref());
        let manifest = Digest::of(format!("{familiar} {platform}").as_bytes());
        let own = config.architecture == self.options.build_platform.architecture;
        let runs_here = own || self.emulated.contains(&config.architecture);
        ResolvedImage { reference: question.reference.clone(), manifest, platform, runs_here, config }
    }
}

fn shown(diagnostic: &Diagnostic) -> String {
    let rule = diagnostic.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    format!("{rule}{} (line {})\n", diagnostic.message, diagnostic.lines.0)
}

/// Replaces digests by `sha256:...`.
fn shorten(line: &str) -> String {
    let mut parts = line.split("sha256:");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|next: char| next.is_ascii_hexdigit());
        format!("{text}sha256:...{rest}")
    })
}

/// Compares texts line by line; the expected one may be indented for reading.
#[track_caller]
pub fn check(actual: &str, expected: &str) {
    let lines: Vec<&str> = expected.lines().collect();
    let margin = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let wanted: Vec<&str> = lines.iter().map(|line| line.get(margin..).unwrap_or("")).collect();
    let wanted = wanted.join("\n");
    assert_eq!(actual.trim_end(), wanted.trim_matches('\n').trim_end(), "\nactual:\n{actual}");
}

//! What a build was asked for, checked and in values.

mod error;

use std::path::PathBuf;

use castoff_graph::{ExtraHost, NetworkMode, Ulimit};
use castoff_oci::{Platform, Reference};
use castoff_solver::PullPolicy;
use castoff_solver::export::annotate::Annotation;

use super::CachePlace;
use super::attest::Collected;
use super::cache;
use super::engine::EngineChoice;
use super::{
    AboutArgs, AttestSpecs, BuildArgs, CacheError, CacheFromSpec, CacheToSpec, Call, CallSpec, CheckArgs,
    ContextArgs, ContextSpec, Entitlements, Environment, FileSpec, GlobalArgs, ImageAttributes,
    NamedContextSpec, OnError, OutputError, OutputSpec, PlanArgs, ProvenanceMode, Requirement, SecretSpec,
    SshError, SshSpec, StepArgs, VcsSpec, annotation, fields, proxies, step,
};

pub use error::{RequestError, ValueError};

/// The file of a policy of sources (B-007, B-181).
const SOURCE_POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

/// A build that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// What is built.
    pub plan: PlanRequest,
    /// The flags of steps as they were written.
    pub step_words: StepArgs,
    /// Names of the result, in order.
    pub tags: Vec<Reference>,
    /// What is made of the result; names of image outputs are filled in. Empty is the local store only.
    pub outputs: Vec<OutputSpec>,
    /// Annotations of the image; image outputs have them among their own, too.
    pub annotations: Vec<Annotation>,
    /// What is said of the result beside it.
    pub attest: AttestSpecs,
    /// How much provenance is in the file for facts about the result (B-114); `None` is none.
    pub metadata_provenance: Option<ProvenanceMode>,
    /// Secrets offered to the steps, each id once.
    pub secrets: Vec<SecretSpec>,
    /// ssh agents offered to the steps, each id once.
    pub ssh: Vec<SshSpec>,
    /// Which engine an image is loaded into.
    pub engine: EngineChoice,
    /// Whether no file of a new layer is later than the epoch, in every image output.
    pub rewrite_timestamp: bool,
    /// Caches that are asked for steps, in order.
    pub cache_from: Vec<CacheFromSpec>,
    /// Caches that are filled.
    pub cache_to: Vec<CacheToSpec>,
    /// File for the image id.
    pub iidfile: Option<PathBuf>,
    /// Further files about the result.
    pub about: AboutArgs,
    /// File for facts about the result.
    pub metadata_file: Option<PathBuf>,
    /// Whether findings about the Dockerfile are in it (B-114).
    pub metadata_warnings: bool,
    /// Whether the build fails when the image cannot start.
    pub require_startable: bool,
    /// Whether secrets are looked for in what the build gives away; `None` is where there are any.
    pub prove: Option<bool>,
    /// Whether the build fails when something looks like a token or a private key.
    pub require_no_secrets: bool,
    /// What happens when a step fails.
    pub on_error: OnError,
    /// File for what a step leaves that fails.
    pub save_failure: Option<PathBuf>,
    /// What is told of the repository that the context is in.
    pub vcs: VcsSpec,
    /// How progress is shown; never `Auto`.
    pub progress: ProgressMode,
    /// A question that is answered instead of building.
    pub call: Option<CallSpec>,
    /// Whether warnings are shown in full.
    pub debug: bool,
    /// How many steps run at once; `None` is no limit given, and `Some(0)` never occurs.
    pub jobs: Option<usize>,
    /// What was accepted without effect, one line each, for the user to know.
    pub notices: Vec<String>,
}

impl BuildRequest {
    /// Returns whether an image comes out, and not only files or nothing.
    pub fn makes_image(&self) -> bool {
        let no_image = |output: &OutputSpec| output.is_files() || *output == OutputSpec::CacheOnly;
        self.outputs.is_empty() || !self.outputs.iter().all(no_image)
    }

    /// Returns whether the image says which steps made its layers: by `type=inline` or by the build argument that
    /// BuildKit has for it (B-125, D-100).
    pub fn inline_cache(&self) -> bool {
        let argument = self.plan.build_args.iter().rfind(|(name, _)| name == "BUILDKIT_INLINE_CACHE");
        // A value that is no boolean is none, as in BuildKit.
        argument.is_some_and(|(_, value)| fields::boolean(value).unwrap_or_default())
            || self.cache_to.iter().any(|cache| cache.place == CachePlace::Inline)
    }
}

/// What is to be built, without what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRequest {
    /// The main context.
    pub context: ContextSpec,
    /// The Dockerfile, when it is not at its default place.
    pub file: Option<FileSpec>,
    /// The stage.
    pub target: Option<String>,
    /// Values of ARGs, each name once. Includes SOURCE_DATE_EPOCH of the environment.
    pub build_args: Vec<(String, String)>,
    /// Whether the ignore file also hides files of a context that is no directory (D-279).
    pub filter_context: bool,
    /// Named contexts, each name once.
    pub contexts: Vec<NamedContextSpec>,
    /// Labels of the result, each name once.
    pub labels: Vec<(String, String)>,
    /// Platforms of the result in the order named, each once; none is this machine's.
    pub platforms: Vec<Platform>,
    /// Whether the result is for several platforms though it may have one: an index (B-109).
    pub multi_platform: bool,
    /// When registries are asked for base images.
    pub pull: PullPolicy,
    /// Whether and how castoff.lock is used.
    pub lock: LockSpec,
    /// Ignores earlier results everywhere.
    pub no_cache: bool,
    /// Ignores earlier results in these stages.
    pub no_cache_stages: Vec<String>,
    /// Network of RUN steps.
    pub network: NetworkMode,
    /// Lines of /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// What steps may ask for.
    pub entitlements: Entitlements,
}

/// Whether and how `castoff.lock` is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockSpec {
    /// Whether it has to be there.
    pub choice: LockUse,
    /// The file, when it is not beside the Dockerfile.
    pub file: Option<PathBuf>,
}

/// Whether `castoff.lock` is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockUse {
    /// Where there is one.
    #[default]
    WhereThere,
    /// There has to be one, with everything that may change.
    Required,
    /// Not at all.
    Never,
}

/// How progress is shown (B-141).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// `Tty` on a terminal, else `Plain`.
    Auto,
    /// A block that is redrawn in place.
    Tty,
    /// Lines.
    Plain,
    /// Only the image id, on standard output.
    Quiet,
    /// Nothing at all.
    None,
    /// JSON lines.
    RawJson,
}

impl BuildArgs {
    /// Checks the flags and returns what they ask for.
    pub fn request(
        &self,
        global: &GlobalArgs,
        environment: &Environment,
    ) -> Result<BuildRequest, RequestError> {
        if let Some(flag) = self.unsupported.first() {
            return Err(RequestError::Unsupported(flag));
        }
        // Who sets a policy relies on it.
        if environment.filled(SOURCE_POLICY).is_some() {
            return Err(RequestError::UnsupportedVariable(SOURCE_POLICY));
        }
        let mut plan = plan_request(&self.path, &self.context, &self.steps, environment)?;
        // B-051, B-174
        let epoch = if self.reproducible { Some(0) } else { self.timestamp };
        let rewrite_timestamp = epoch.is_some();
        if let Some(epoch) = epoch {
            set(&mut plan.build_args, "SOURCE_DATE_EPOCH", &epoch.to_string());
        }
        let tags = each("tag", &self.tag, |text| {
            let reference: Reference = text.parse()?;
            if reference.digest().is_some() { Err(ValueError::TagWithDigest) } else { Ok(reference) }
        })?;
        let mut outputs = each("output", &self.output, |text| Ok(OutputSpec::parse(text)?))?;
        if self.push {
            push_outputs(&mut outputs)?;
        }
        if self.load && !outputs.iter().any(|output| matches!(output, OutputSpec::Engine { .. })) {
            outputs.push(OutputSpec::load());
        }
        let annotations = each("annotation", &self.annotation, |text| Ok(annotation::flag(text)?))?;
        let annotations: Vec<Annotation> = annotations.into_iter().flatten().collect();
        for image in outputs.iter_mut().filter_map(OutputSpec::image_mut) {
            if image.names.is_empty() {
                image.names.clone_from(&tags);
            }
            image.annotations.splice(0..0, annotations.iter().cloned());
            image.rewrite_timestamp |= rewrite_timestamp;
        }
        let attest = self.attestations()?;
        for (output, text) in outputs.iter().zip(&self.output) {
            if let Some(image) = output.image() {
                value("output", text, |_| Ok(image.check()?))?;
                // B-107
                if attest.any() && image.oci_mediatypes == Some(false) {
                    value("output", text, |_| {
                        Err::<(), _>(OutputError::DockerTypes("an attestation").into())
                    })?;
                }
            }
        }
        self.check_outputs(&outputs, environment)?;
        let cache_to = caches("cache-to", &self.cache_to, |text| CacheToSpec::parse(text, environment))?;
        if global.offline(environment)? {
            refuse_network(&plan, &outputs, &cache_to)?;
        }
        // B-102, B-103
        if (plan.multi_platform || attest.any())
            && outputs.iter().any(|output| matches!(output, OutputSpec::Docker { .. }))
        {
            return Err(RequestError::DockerIndex);
        }
        let mut secrets: Vec<SecretSpec> = Vec::new();
        for secret in each("secret", &self.secret, |text| Ok(SecretSpec::parse(text, environment)?))? {
            // B-138
            secrets.retain(|earlier| earlier.id != secret.id);
            secrets.push(secret);
        }
        let mut ssh: Vec<SshSpec> = Vec::new();
        each("ssh", &self.ssh, |text| {
            let spec = SshSpec::parse(text, environment)?;
            if ssh.iter().any(|earlier| earlier.id == spec.id) {
                return Err(SshError::Twice(spec.id).into());
            }
            ssh.push(spec);
            Ok(())
        })?;
        Ok(BuildRequest {
            plan,
            step_words: self.steps.clone(),
            tags,
            outputs,
            annotations,
            attest,
            metadata_provenance: metadata_provenance(environment),
            secrets,
            ssh,
            engine: EngineChoice::of(environment),
            rewrite_timestamp,
            cache_from: caches("cache-from", &self.cache_from, |text| {
                CacheFromSpec::parse(text, environment)
            })?,
            cache_to,
            iidfile: self.iidfile.clone(),
            about: self.about.clone(),
            metadata_file: self.metadata_file.clone(),
            metadata_warnings: environment
                .text("BUILDX_METADATA_WARNINGS")
                .is_some_and(|value| fields::boolean(value) == Ok(true)),
            require_startable: self.require.contains(&Requirement::Startable),
            prove: match &self.prove {
                Some(text) => Some(value("prove", text, |text| Ok(fields::boolean(text)?))?),
                None => None,
            },
            require_no_secrets: self.require.contains(&Requirement::NoSecrets),
            on_error: self.on_error,
            save_failure: self.save_failure.clone(),
            vcs: VcsSpec::of(environment),
            progress: self.progress_mode(environment)?,
            call: self.call()?,
            debug: global.debug,
            jobs: self.jobs.filter(|jobs| *jobs > 0),
            notices: self.notices(environment)?,
        })
    }

    /// B-012, B-032: of one type there is one.
    fn attestations(&self) -> Result<AttestSpecs, RequestError> {
        let mut collected = Collected::default();
        each("attest", &self.attest, |text| Ok(collected.attest(text)?))?;
        for (flag, text) in [("sbom", &self.sbom), ("provenance", &self.provenance)] {
            if let Some(text) = text {
                value(flag, text, |text| Ok(collected.shorthand(flag, text)?))?;
            }
        }
        Ok(collected.specs())
    }

    /// B-017: three spellings of one question.
    fn call(&self) -> Result<Option<CallSpec>, RequestError> {
        let named = |flag, text: &Option<String>| match text {
            Some(text) => value(flag, text, |text| Ok(CallSpec::parse(text)?)),
            None => Ok(None),
        };
        let spec = match (named("call", &self.call)?, named("print", &self.print)?) {
            (Some(_), Some(_)) => return Err(RequestError::Conflict("`--call`", "`--print`")),
            (spec, other) => spec.or(other),
        };
        match spec {
            Some(spec) if self.check && spec.call != Call::Check => {
                Err(RequestError::Conflict("`--check`", "`--call`"))
            }
            None if self.check => Ok(Some(CallSpec::check())),
            spec => Ok(spec),
        }
    }

    fn check_outputs(&self, outputs: &[OutputSpec], environment: &Environment) -> Result<(), RequestError> {
        match outputs.iter().filter(|output| output.is_stdout()).count() {
            0 => {}
            1 if environment.stdout_is_terminal => return Err(RequestError::StdoutTerminal),
            1 => {}
            _ => return Err(RequestError::StdoutTwice),
        }
        let of_image = self.iidfile.is_some() || self.about.iidfile_raw.is_some();
        if of_image && outputs.iter().any(OutputSpec::is_files) {
            return Err(RequestError::IidfileOfFiles);
        }
        let nameless_push = outputs.iter().any(|output| match output {
            OutputSpec::Image { push: true, image } => image.names.is_empty(),
            _ => false,
        });
        if nameless_push { Err(RequestError::PushWithoutName) } else { Ok(()) }
    }

    fn progress_mode(&self, environment: &Environment) -> Result<ProgressMode, RequestError> {
        match (self.quiet, self.progress.as_deref()) {
            (true, None | Some("quiet")) => Ok(ProgressMode::Quiet),
            (true, Some(_)) => Err(RequestError::Conflict("`--quiet`", "`--progress`")),
            (false, text) => ProgressMode::choose(text, environment),
        }
    }

    /// Names the flags that are accepted and have no effect (B-015, B-042).
    fn notices(&self, environment: &Environment) -> Result<Vec<String>, RequestError> {
        let mut notices = Vec::new();
        let mut ignored = |used: bool, flag: &str, why: &str| {
            if used {
                notices.push(format!("`{flag}` is ignored: {why}"));
            }
        };
        ignored(self.builder.is_some(), "--builder", "there are no builder instances");
        match self.isolation.as_deref() {
            None => {}
            Some("" | "default" | "process" | "hyperv") => {
                ignored(true, "--isolation", "it has a meaning on Windows only");
            }
            Some(_) => return Err(RequestError::Unsupported("isolation")),
        }
        ignored(!self.security_opt.is_empty(), "--security-opt", "steps have the default profile");
        ignored(self.disable_content_trust, "--disable-content-trust", "content trust is not used");
        ignored(self.force_rm, "--force-rm", "nothing of a failed step is kept");
        ignored(
            environment.text("DOCKER_BUILDKIT").is_some_and(|value| fields::boolean(value) == Ok(false)),
            "DOCKER_BUILDKIT=0",
            "only the modern semantics exist",
        );
        Ok(notices)
    }
}

impl PlanArgs {
    /// Checks the flags and returns what they ask for.
    pub fn request(&self, environment: &Environment) -> Result<PlanRequest, RequestError> {
        plan_request(&self.path, &self.context, &self.steps, environment)
    }
}

impl CheckArgs {
    /// Checks the flags and returns what is looked at. The files are not in it.
    pub fn request(&self, environment: &Environment) -> Result<PlanRequest, RequestError> {
        let context = ContextArgs {
            target: self.target.clone(),
            build_arg: self.build_arg.clone(),
            ..ContextArgs::default()
        };
        PlanRequest::of_context(".", &context, environment)
    }
}

impl PlanRequest {
    /// Returns the request to build a directory with the few flags that `run` has.
    pub fn of_context(
        path: &str,
        context: &ContextArgs,
        environment: &Environment,
    ) -> Result<PlanRequest, RequestError> {
        plan_request(path, context, &StepArgs::default(), environment)
    }

    /// Adds the proxy settings of docker's `config.json` as build arguments, except those that were
    /// given in any spelling (B-008).
    pub fn add_proxies(&mut self, config: &[u8]) {
        let given: Vec<String> = self.build_args.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let settings = proxies::build_args(config).into_iter();
        self.build_args.extend(settings.filter(|(name, _)| !given.contains(&name.to_ascii_lowercase())));
    }

    /// Returns SOURCE_DATE_EPOCH, when it is a number.
    pub fn epoch(&self) -> Option<i64> {
        let (_, value) = self.build_args.iter().find(|(name, _)| name == "SOURCE_DATE_EPOCH")?;
        value.parse().ok()
    }
}

impl ProgressMode {
    /// Returns the mode of `--progress`, else that of `BUILDKIT_PROGRESS`, else what standard error is good
    /// for.
    ///
    /// # Errors
    /// When it is none, or needs a terminal that is not there.
    pub fn choose(text: Option<&str>, environment: &Environment) -> Result<ProgressMode, RequestError> {
        let text = text.or_else(|| environment.filled("BUILDKIT_PROGRESS")).unwrap_or_default();
        match value("progress", text, ProgressMode::parse)? {
            ProgressMode::Auto if environment.stderr_is_terminal => Ok(ProgressMode::Tty),
            ProgressMode::Auto => Ok(ProgressMode::Plain),
            ProgressMode::Tty if !environment.stderr_is_terminal => Err(RequestError::NoTerminal),
            mode => Ok(mode),
        }
    }

    fn parse(text: &str) -> Result<ProgressMode, ValueError> {
        match text {
            "" | "auto" => Ok(ProgressMode::Auto),
            "tty" => Ok(ProgressMode::Tty),
            "plain" => Ok(ProgressMode::Plain),
            "quiet" => Ok(ProgressMode::Quiet),
            "none" => Ok(ProgressMode::None),
            "rawjson" => Ok(ProgressMode::RawJson),
            _ => Err(ValueError::Progress),
        }
    }
}

pub(super) fn plan_request(
    path: &str,
    context: &ContextArgs,
    steps: &StepArgs,
    environment: &Environment,
) -> Result<PlanRequest, RequestError> {
    let source = ContextSpec::parse(path);
    let file = context.file.as_deref().filter(|file| !file.is_empty()).map(FileSpec::parse);
    // B-044
    if source == ContextSpec::Stdin && file == Some(FileSpec::Stdin) {
        return Err(RequestError::StdinTwice);
    }
    if steps.no_cache && !steps.no_cache_filter.is_empty() {
        return Err(RequestError::Conflict("`--no-cache`", "`--no-cache-filter`"));
    }
    let network_text = steps.network.as_deref().unwrap_or_default();
    let network = value("network", network_text, |text| Ok(step::network(text)?))?;
    let mut entitlements = Entitlements::default();
    each("allow", &steps.allow, |text| Ok(step::allow(text, &mut entitlements)?))?;
    // B-025
    entitlements.network_host |= network == NetworkMode::Host;
    let mut contexts: Vec<NamedContextSpec> = Vec::new();
    for named in each("build-context", &context.build_context, |text| Ok(NamedContextSpec::parse(text)?))? {
        contexts.retain(|earlier| earlier.name != named.name);
        contexts.push(named);
    }
    let hosts = each("add-host", &steps.add_host, |text| Ok(step::extra_hosts(text)?))?;
    let stages = steps.no_cache_filter.iter().flat_map(|list| list.split(',')).map(str::trim);
    let platforms = platforms(&context.platform, environment)?;
    let build_args = build_args(&context.build_arg, environment)?;
    let multi_platform = multi_platform(&platforms, &build_args)?;
    Ok(PlanRequest {
        context: source,
        file,
        target: context.target.clone().filter(|target| !target.is_empty()),
        build_args,
        contexts,
        filter_context: context.filter_context,
        labels: labels(&steps.label)?,
        platforms,
        multi_platform,
        lock: LockSpec {
            choice: match (context.locked, context.no_lock) {
                (true, _) => LockUse::Required,
                (false, true) => LockUse::Never,
                (false, false) => LockUse::WhereThere,
            },
            file: context.lockfile.clone(),
        },
        pull: value("pull", context.pull.as_deref().unwrap_or_default(), pull_policy)?,
        no_cache: steps.no_cache,
        no_cache_stages: stages.filter(|stage| !stage.is_empty()).map(str::to_owned).collect(),
        network,
        extra_hosts: hosts.into_iter().flatten().collect(),
        shm_size: steps
            .shm_size
            .as_deref()
            .map(|text| value("shm-size", text, |text| Ok(fields::size(text)?)))
            .transpose()?,
        ulimits: each("ulimit", &steps.ulimit, |text| Ok(step::ulimit(text)?))?,
        entitlements,
    })
}

/// Refuses what cannot be done without a network, before anything is done.
fn refuse_network(
    plan: &PlanRequest,
    outputs: &[OutputSpec],
    cache_to: &[CacheToSpec],
) -> Result<(), RequestError> {
    if plan.pull == PullPolicy::Always {
        return Err(RequestError::Offline("`--pull`"));
    }
    if outputs.iter().any(|output| matches!(output, OutputSpec::Image { push: true, .. })) {
        return Err(RequestError::Offline("a push"));
    }
    for cache in cache_to {
        match cache.place {
            CachePlace::Registry(_) => return Err(RequestError::Offline("filling a cache in a registry")),
            CachePlace::S3(_) => return Err(RequestError::Offline("filling a cache in a bucket")),
            CachePlace::Local { .. } | CachePlace::Inline => {}
        }
    }
    Ok(())
}

/// B-033: docker's switch, and the policies of buildah, Podman and Compose.
fn pull_policy(text: &str) -> Result<PullPolicy, ValueError> {
    match text {
        "" | "missing" | "ifmissing" | "if_not_present" => Ok(PullPolicy::Missing),
        "always" => Ok(PullPolicy::Always),
        "newer" | "ifnewer" => Ok(PullPolicy::Newer),
        "never" => Ok(PullPolicy::Never),
        text => match fields::boolean(text) {
            Ok(true) => Ok(PullPolicy::Always),
            Ok(false) => Ok(PullPolicy::Missing),
            Err(_) => Err(ValueError::Pull),
        },
    }
}

/// Makes the image of a build one that is pushed, as `--push` asks for (B-101).
fn push_outputs(outputs: &mut Vec<OutputSpec>) -> Result<(), RequestError> {
    if outputs.is_empty() {
        outputs.push(OutputSpec::Image { push: true, image: ImageAttributes::default() });
        return Ok(());
    }
    let mut found = false;
    for output in outputs {
        if let OutputSpec::Image { push, .. } = output {
            (*push, found) = (true, true);
        }
    }
    if found { Ok(()) } else { Err(RequestError::Conflict("`--push`", "an `--output` that is no image")) }
}

/// B-013
fn build_args(texts: &[String], environment: &Environment) -> Result<Vec<(String, String)>, RequestError> {
    let mut build_args = Vec::new();
    for text in texts {
        let (name, given) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), environment.text(text)),
        };
        if name.is_empty() {
            let value = "=...".to_owned();
            return Err(RequestError::Value { flag: "build-arg", value, source: ValueError::EmptyName });
        }
        if let Some(value) = given {
            set(&mut build_args, name, value);
        }
    }
    let epoch = environment.filled("SOURCE_DATE_EPOCH");
    if let Some(epoch) = epoch.filter(|_| !build_args.iter().any(|(name, _)| name == "SOURCE_DATE_EPOCH")) {
        set(&mut build_args, "SOURCE_DATE_EPOCH", epoch);
    }
    Ok(build_args)
}

/// B-022
fn labels(texts: &[String]) -> Result<Vec<(String, String)>, RequestError> {
    let mut labels = Vec::new();
    for text in texts {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            let value = text.clone();
            return Err(RequestError::Value { flag: "label", value, source: ValueError::EmptyName });
        }
        set(&mut labels, name, value);
    }
    Ok(labels)
}

/// B-029
fn platforms(texts: &[String], environment: &Environment) -> Result<Vec<Platform>, RequestError> {
    let default = environment.filled("DOCKER_DEFAULT_PLATFORM").map(str::to_owned);
    let default = default.filter(|_| texts.is_empty());
    let mut platforms: Vec<Platform> = Vec::new();
    let items = texts.iter().chain(&default).flat_map(|list| list.split(',')).map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        let platform = value("platform", item, |text| Ok(text.parse()?))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// B-109, D-100
fn multi_platform(platforms: &[Platform], build_args: &[(String, String)]) -> Result<bool, RequestError> {
    const NAME: &str = "BUILDKIT_MULTI_PLATFORM";
    let several = platforms.len() > 1;
    let Some((_, text)) = build_args.iter().find(|(name, text)| name == NAME && !text.is_empty()) else {
        return Ok(several);
    };
    match fields::boolean(text) {
        Ok(false) if several => Err(RequestError::SeveralPlatforms),
        Ok(wanted) => Ok(wanted),
        Err(source) => {
            Err(RequestError::Value { flag: "build-arg", value: NAME.to_owned(), source: source.into() })
        }
    }
}

/// Sets a value of an ordered list of names; a later use of a name wins.
fn set(list: &mut Vec<(String, String)>, name: &str, value: &str) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => list.push((name.to_owned(), value.to_owned())),
    }
}

/// Returns the values that are not empty: a variable of a CI system that is not set is no cache.
fn filled(texts: &[String]) -> Vec<String> {
    texts.iter().filter(|text| !text.is_empty()).cloned().collect()
}

fn value<T>(
    flag: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<T, RequestError> {
    parse(text).map_err(|source| RequestError::Value { flag, value: text.to_owned(), source })
}

fn each<T>(
    flag: &'static str,
    texts: &[String],
    mut parse: impl FnMut(&str) -> Result<T, ValueError>,
) -> Result<Vec<T>, RequestError> {
    texts.iter().map(|text| value(flag, text, &mut parse)).collect()
}

/// Reads caches. A value that is refused is shown without its keys.
fn caches<T>(
    flag: &'static str,
    texts: &[String],
    mut parse: impl FnMut(&str) -> Result<T, CacheError>,
) -> Result<Vec<T>, RequestError> {
    let read = |text: &String| {
        let refused = |error: CacheError| RequestError::Value {
            flag,
            value: cache::without_secrets(text),
            source: error.into(),
        };
        parse(text).map_err(refused)
    };
    filled(texts).iter().map(read).collect()
}

/// BUILDX_METADATA_PROVENANCE: `max`, `min`, or a boolean or `disabled` (B-114).
fn metadata_provenance(environment: &Environment) -> Option<ProvenanceMode> {
    match environment.filled("BUILDX_METADATA_PROVENANCE") {
        Some("max") => Some(ProvenanceMode::Max),
        Some("disabled") => None,
        Some(text) if fields::boolean(text) == Ok(false) => None,
        _ => Some(ProvenanceMode::Min),
    }
}

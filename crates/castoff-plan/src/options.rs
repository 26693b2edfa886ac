//! What the caller of a build decides.

use std::collections::BTreeMap;

use castoff_graph::{ExtraHost, NetworkMode, Ulimit};
use castoff_oci::{DiffId, Platform, Reference};

use crate::Pins;

/// The options of one build, for one platform or several.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The name of the Dockerfile as the user knows it, for origins.
    pub source_name: String,
    /// The stage to build; the last one when absent (D-129).
    pub target: Option<String>,
    /// `--build-arg`s in order; of equal names the last one counts (B-013).
    pub build_args: Vec<(String, String)>,
    /// `--label`s: they override those of the Dockerfile (D-256).
    pub labels: Vec<(String, String)>,
    /// The platforms to build for, in the order the user named them, each once. None is that of the
    /// machine (D-122, D-123, D-293).
    pub platforms: Vec<Platform>,
    /// The platform of the machine that builds.
    pub build_platform: Platform,
    /// Where the files of the main context are.
    pub context: ContextSource,
    /// Named contexts by name, `name` or `name::os/arch` (D-126).
    pub contexts: BTreeMap<String, NamedContext>,
    /// What files and trees that ADD fetches are known to be.
    pub pins: Pins,
    /// Ignore existing results of all stages.
    pub no_cache: bool,
    /// Ignore existing results of these stages, named in any case.
    pub no_cache_stages: Vec<String>,
    /// Network of RUN steps that do not choose one.
    pub network: NetworkMode,
    /// Lines of /etc/hosts of RUN steps.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm of RUN steps in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// Privileges the user granted.
    pub entitlements: Entitlements,
    /// Proxy variables; build arguments of the same names win (D-095).
    pub proxies: Vec<(String, String)>,
    /// Whether this is a build for several platforms even when they are fewer than two (B-109): step
    /// names show the platform (B-146).
    pub multi_platform: bool,
    /// SOURCE_DATE_EPOCH in seconds since 1970. When absent, a build argument or a global ARG of that
    /// name decides (D-102).
    pub epoch: Option<i64>,
}

/// Where the files of the main context are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextSource {
    /// In a directory that the caller can read.
    Local,
    /// In a layer, because they were fetched or came as an archive.
    Tree {
        /// The layer.
        layer: DiffId,
        /// Their time in seconds since 1970, if they have one (D-102).
        time: Option<i64>,
    },
    /// Nowhere: there are none (D-275).
    Empty,
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory that the caller can read under the context's name.
    Directory,
    /// A tree that was fetched.
    Tree {
        /// The layer that holds it.
        layer: DiffId,
        /// Its time in seconds since 1970, if it has one (D-102).
        time: Option<i64>,
    },
    /// An image.
    Image(Reference),
    /// The empty file system.
    Scratch,
}

/// Privileges that a Dockerfile may only use when the user granted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entitlements {
    /// `network.host`.
    pub network_host: bool,
    /// `security.insecure`.
    pub security_insecure: bool,
}

impl PlanOptions {
    /// Returns the options of a plain build on a machine of a platform.
    pub fn new(build_platform: Platform) -> PlanOptions {
        PlanOptions {
            source_name: "Dockerfile".to_owned(),
            target: None,
            build_args: Vec::new(),
            labels: Vec::new(),
            platforms: Vec::new(),
            build_platform,
            context: ContextSource::Local,
            contexts: BTreeMap::new(),
            pins: Pins::default(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            network: NetworkMode::Default,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            entitlements: Entitlements::default(),
            proxies: Vec::new(),
            multi_platform: false,
            epoch: None,
        }
    }

    /// Returns the platforms of the images that come out, in order; at least one.
    pub fn targets(&self) -> &[Platform] {
        if self.platforms.is_empty() { std::slice::from_ref(&self.build_platform) } else { &self.platforms }
    }

    /// Returns whether step names show the platform (B-146).
    pub(crate) fn shows_platforms(&self) -> bool {
        self.multi_platform || self.platforms.len() > 1
    }

    /// Returns the value of a build argument. SOURCE_DATE_EPOCH without a time counts as not given
    /// (D-102).
    pub(crate) fn build_arg(&self, name: &str) -> Option<&str> {
        let found = self.build_args.iter().rev().find(|(key, _)| key == name)?;
        let timeless = name == "SOURCE_DATE_EPOCH" && matches!(found.1.as_str(), "" | "context");
        (!timeless).then_some(found.1.as_str())
    }

    /// Returns whether existing results of a stage are ignored (D-318).
    pub(crate) fn ignores_cache(&self, stage: Option<&str>) -> bool {
        let filtered =
            |stage: &str| self.no_cache_stages.iter().any(|filter| filter.eq_ignore_ascii_case(stage));
        self.no_cache || stage.is_some_and(filtered)
    }
}

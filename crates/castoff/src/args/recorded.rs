//! What a build was asked for, in the words in which its record keeps it.

use std::path::{Path, PathBuf};

use castoff_graph::remote::redacted;
use serde::{Deserialize, Serialize};

use super::request::{LockUse, PlanRequest, RequestError, plan_request};
use super::{
    BuildRequest, ContextArgs, ContextSpec, Environment, FileSpec, NamedContextSource, NamedContextSpec,
    StepArgs,
};

/// All that is needed to repeat a build, but no value of a secret: of secrets and agents the ids, of addresses what is
/// left without credentials, and no proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedRequest {
    context: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    build_args: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contexts: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    filter_context: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    locked: bool,
    #[serde(skip_serializing_if = "is_false")]
    no_lock: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lockfile: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add_host: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ulimit: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    /// Ids of the secrets that steps were offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Ids of the ssh agents that steps were offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<String>,
    /// SOURCE_DATE_EPOCH of the images that came out, where no file of a new layer is later (B-174).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten_to: Option<i64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl RecordedRequest {
    /// Returns what a request is remembered by. `steps` are the words of its flags, `directory` is what its relative paths
    /// start from.
    pub fn of(request: &BuildRequest, directory: &Path) -> RecordedRequest {
        let plan = &request.plan;
        let absolute = |path: &Path| directory.join(path).display().to_string();
        let rewrites = request.rewrite_timestamp
            || request
                .outputs
                .iter()
                .any(|output| output.image().is_some_and(|image| image.rewrite_timestamp));
        let words = request.step_words.clone();
        RecordedRequest {
            context: match &plan.context {
                ContextSpec::Directory(path) => absolute(path),
                ContextSpec::Stdin => "-".to_owned(),
                ContextSpec::Git(address) | ContextSpec::Http(address) => redacted(address),
            },
            file: plan.file.as_ref().map(|file| match file {
                FileSpec::Path(path) => absolute(path),
                FileSpec::Stdin => "-".to_owned(),
                FileSpec::Http(address) => redacted(address),
            }),
            target: plan.target.clone(),
            build_args: plan.build_args.iter().filter(|(name, _)| !is_proxy(name)).cloned().collect(),
            contexts: plan.contexts.iter().map(|context| named_context(context, &absolute)).collect(),
            filter_context: plan.filter_context,
            platforms: plan.platforms.iter().map(ToString::to_string).collect(),
            locked: plan.lock.choice == LockUse::Required,
            no_lock: plan.lock.choice == LockUse::Never,
            lockfile: plan.lock.file.as_ref().map(|path| directory.join(path)),
            labels: words.label,
            network: words.network,
            add_host: words.add_host,
            shm_size: words.shm_size,
            ulimit: words.ulimit,
            allow: words.allow,
            secrets: request.secrets.iter().map(|secret| secret.id.clone()).collect(),
            ssh: request.ssh.iter().map(|agent| agent.id.clone()).collect(),
            rewritten_to: plan.epoch().filter(|_| rewrites),
        }
    }

    /// Returns what came from standard input, and so is not there any more.
    pub fn consumed(&self) -> Option<&'static str> {
        match (self.context.as_str(), self.file.as_deref()) {
            ("-", _) => Some("context"),
            (_, Some("-")) => Some("Dockerfile"),
            _ => None,
        }
    }

    /// Returns whether SOURCE_DATE_EPOCH was set.
    pub fn has_epoch(&self) -> bool {
        self.build_args
            .iter()
            .any(|(name, value)| name == "SOURCE_DATE_EPOCH" && value.parse::<i64>().is_ok())
    }

    /// Returns the request to plan the same again. Nothing but the record counts, no variable of the environment.
    ///
    /// # Errors
    /// When this castoff does not take what was recorded.
    pub fn plan(&self) -> Result<PlanRequest, RequestError> {
        let context = ContextArgs {
            file: self.file.clone(),
            target: self.target.clone(),
            build_arg: self.build_args.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            build_context: self.contexts.clone(),
            platform: self.platforms.clone(),
            filter_context: self.filter_context,
            locked: self.locked,
            no_lock: self.no_lock,
            lockfile: self.lockfile.clone(),
            pull: None,
        };
        let steps = StepArgs {
            label: self.labels.clone(),
            network: self.network.clone(),
            add_host: self.add_host.clone(),
            shm_size: self.shm_size.clone(),
            ulimit: self.ulimit.clone(),
            allow: self.allow.clone(),
            ..StepArgs::default()
        };
        plan_request(&self.context, &context, &steps, &Environment::default())
    }
}

/// Proxies may have passwords, and are in no key.
fn is_proxy(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "http_proxy" | "https_proxy" | "ftp_proxy" | "no_proxy" | "all_proxy")
}

fn named_context(context: &NamedContextSpec, absolute: &dyn Fn(&Path) -> String) -> String {
    let source = match &context.source {
        NamedContextSource::Directory(path) => absolute(path),
        NamedContextSource::Image(reference) => format!("docker-image://{reference}"),
        NamedContextSource::OciLayout { path, tag, digest } => {
            let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
            format!("oci-layout://{}{tag}{digest}", absolute(path))
        }
        NamedContextSource::Git(address) | NamedContextSource::Http(address) => redacted(address),
    };
    format!("{}={source}", context.name)
}

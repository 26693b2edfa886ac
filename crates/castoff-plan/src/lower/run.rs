//! RUN (section 8).

use castoff_dockerfile::{Command, Run, Spanned};
use castoff_graph::{Mount, NetworkMode, Op, RunOp, Script, SecurityMode};

use crate::PlanOptions;
use crate::names::summary;
use crate::paths;
use crate::place::Checked;
use crate::scope::Scope;
use crate::suggest::did_you_mean;

use super::{Here, StageLowering};

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// What a RUN executes.
struct Process {
    argv: Vec<String>,
    script: Option<Script>,
    /// What the step name says beside the instruction's first line.
    suffix: String,
}

/// Returns whether a build argument is a proxy variable, in either case (D-095).
pub(super) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

impl StageLowering<'_, '_> {
    pub(super) fn run(&mut self, here: Here<'_>, run: &Run) -> Checked<()> {
        let process = self.process(here, run)?;
        let devices =
            run.devices.iter().map(|device| self.device(here, device)).collect::<Checked<Vec<_>>>()?;
        let mut mounts = Vec::new();
        for flag in &run.mounts {
            let agents = mounts.iter().filter(|mount| matches!(mount, Mount::Ssh { .. })).count();
            mounts.push(self.mount(here, flag, agents)?);
        }
        for mount in &mounts {
            match mount {
                Mount::Secret { id, .. } => drop(self.plan.secrets.insert(id.clone())),
                Mount::Ssh { id, .. } => drop(self.plan.agents.insert(id.clone())),
                Mount::Bind { .. } | Mount::Cache { .. } | Mount::Tmpfs { .. } => {}
            }
        }
        let masked: Vec<String> = mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Secret { env, .. } => env.clone(),
                Mount::Bind { .. } | Mount::Cache { .. } | Mount::Tmpfs { .. } | Mount::Ssh { .. } => None,
            })
            .collect();
        let network = self.network(here, run.network.as_ref())?;
        let security = self.security(here, run.security.as_ref())?;
        let name = self.step_name(here, "", &process.suffix, &masked);
        // The environment and the user are in the step, the arguments in the history.
        let repeated = 2 * self.state.scope.size() + self.state.config.config.user.len();
        self.plan.budget.spend(repeated, here.place())?;
        let arguments = self.state.scope.history_arguments();
        let counted = if arguments.is_empty() { Vec::new() } else { vec![format!("|{}", arguments.len())] };
        let words = [counted, arguments, process.argv.clone()].concat();
        let created_by = format!("RUN {} # buildkit", words.join(" "));
        let options = self.plan.survey.options;
        let op = Op::Run(RunOp {
            parent: self.state.vertex,
            argv: process.argv,
            env: self.state.scope.environment(),
            proxies: proxies(options, &self.state.scope),
            workdir: paths::absolute(self.workdir_path(), ""),
            user: self.state.config.config.user.clone(),
            hostname: options.build_arg("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or("buildkitsandbox").to_owned(),
            network,
            security,
            mounts,
            devices,
            script: process.script,
            extra_hosts: options.extra_hosts.clone(),
            shm_size: options.shm_size,
            ulimits: options.ulimits.clone(),
            platform: self.state.platform.clone(),
        });
        let vertex = self.step(here, op, name);
        self.record(created_by, Some(vertex));
        Ok(())
    }

    /// Returns what is executed. The builder expands nothing in it (D-058, D-061).
    fn process(&self, here: Here<'_>, run: &Run) -> Checked<Process> {
        let plain = |argv| Process { argv, script: None, suffix: String::new() };
        let text = match &run.command {
            Command::Exec(argv) if argv.is_empty() => {
                return Err(here.place().error("RUN has no command: the list is empty"));
            }
            Command::Exec(argv) => return Ok(plain(argv.clone())),
            Command::Shell(text) => &text.value,
        };
        let script = match run.heredocs.as_slice() {
            [] => return Ok(plain(self.with_shell(text))),
            [script] if run.only_heredoc => script,
            // The image's shell reads the bodies itself (D-057).
            heredocs => {
                let bodies =
                    heredocs.iter().map(|heredoc| heredoc.raw.strip_suffix('\n').unwrap_or(&heredoc.raw));
                let lines: Vec<&str> = [text.as_str()].into_iter().chain(bodies).collect();
                return Ok(plain(self.with_shell(&lines.join("\n"))));
            }
        };
        let suffix = format!(" ({})", summary(&script.body));
        if !script.body.starts_with("#!") {
            return Ok(Process { suffix, ..plain(self.with_shell(&script.body)) });
        }
        let name = &script.delimiter;
        if name.contains('/') || matches!(name.as_str(), "" | "." | "..") {
            let message = format!("the delimiter `{name}` cannot be the name of a script file");
            return Err(here.place().error(message));
        }
        let path = format!("/dev/pipes/{name}");
        let content = script.body.clone().into_bytes();
        // BuildKit has the shell start it, which starts the interpreter that the script names.
        let argv = self.with_shell(&path);
        Ok(Process { argv, script: Some(Script { path, content }), suffix })
    }

    /// Returns the network of a step; `default` is that of the build (D-175).
    fn network(&self, here: Here<'_>, word: Option<&Spanned<String>>) -> Checked<NetworkMode> {
        let options = self.plan.survey.options;
        let Some(word) = word else { return Ok(options.network) };
        let place = here.at(word);
        match word.value.as_str() {
            "default" => Ok(options.network),
            "none" => Ok(NetworkMode::None),
            "host" if options.entitlements.network_host || options.network == NetworkMode::Host => {
                Ok(NetworkMode::Host)
            }
            "host" => Err(place.error_with_hint(
                "network.host is not allowed",
                Some("grant it with `--allow network.host`".to_owned()),
            )),
            other => {
                let hint = did_you_mean(other, ["default", "none", "host"]);
                Err(place.error_with_hint(format!("invalid network mode \"{other}\""), hint))
            }
        }
    }

    fn security(&self, here: Here<'_>, word: Option<&Spanned<String>>) -> Checked<SecurityMode> {
        let Some(word) = word else { return Ok(SecurityMode::Sandbox) };
        let place = here.at(word);
        match word.value.as_str() {
            "sandbox" => Ok(SecurityMode::Sandbox),
            "insecure" if self.plan.survey.options.entitlements.security_insecure => {
                Ok(SecurityMode::Insecure)
            }
            "insecure" => Err(place.error_with_hint(
                "security.insecure is not allowed",
                Some("grant it with `--allow security.insecure`".to_owned()),
            )),
            other => {
                let hint = did_you_mean(other, ["sandbox", "insecure"]);
                Err(place.error_with_hint(format!("security \"{other}\" is not valid"), hint))
            }
        }
    }
}

/// Returns the proxy variables of a step, each in both cases. A name that the stage declared is an
/// ordinary variable and not among them (D-096).
fn proxies(options: &PlanOptions, scope: &Scope) -> Vec<(String, String)> {
    let value = |name: &str| {
        let build_args = options.build_args.iter().rev();
        let all = build_args.chain(options.proxies.iter().rev());
        all.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let mut proxies = Vec::new();
    for name in PROXIES {
        let Some(value) = value(name) else { continue };
        proxies.push((name.to_owned(), value.clone()));
        proxies.push((name.to_lowercase(), value));
    }
    proxies.retain(|(name, _)| scope.get(name).is_none());
    proxies
}

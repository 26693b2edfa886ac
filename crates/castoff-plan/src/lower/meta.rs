//! Instructions that change only the config and the variables: ARG, ENV, LABEL, USER, VOLUME,
//! MAINTAINER, ONBUILD, STOPSIGNAL; and WORKDIR, which also makes a directory (sections 6, 11 to 14).

use castoff_dockerfile::{ArgDeclaration, KeyValues, Spanned};
use castoff_graph::{Op, WorkdirOp};
use serde_json::{Map, Value};

use crate::budget::ENTRY;
use crate::lint::workdir_relative_path;
use crate::paths;
use crate::place::Checked;

use super::signal::is_signal;
use super::{Here, StageLowering, from};

/// Longest path that the kernel takes.
const LONGEST_PATH: usize = 4095;

impl StageLowering<'_, '_> {
    pub(super) fn arg(&mut self, here: Here<'_>, declarations: &[ArgDeclaration]) -> Checked<()> {
        let mut recorded = String::from("ARG");
        for declaration in declarations {
            let name = &declaration.name.value;
            let survey = self.plan.survey;
            let given = survey.options.build_arg(name).map(str::to_owned);
            let value = match (given, &declaration.default) {
                (Some(value), _) => Some(value),
                // A default sees the arguments before it on the same line, unlike the words of other
                // instructions (D-063): BuildKit takes one ARG after the other.
                (None, Some(default)) => Some(self.word(here, default)?),
                (None, None) => survey.globals.get(name).map(str::to_owned),
            };
            let length = name.len() + value.as_ref().map_or(0, String::len);
            self.plan.budget.spend(length + ENTRY, here.at(&declaration.name))?;
            recorded.push(' ');
            recorded.push_str(name);
            if let Some(value) = &value {
                recorded.push('=');
                recorded.push_str(value);
            }
            self.state.scope.declare(name, value);
        }
        self.record(recorded, None);
        Ok(())
    }

    pub(super) fn env(&mut self, here: Here<'_>, pairs: &KeyValues) -> Checked<()> {
        let pairs = self.pairs(here, pairs)?;
        self.record(pairs_text("ENV", &pairs), None);
        for (name, value) in &pairs {
            from::set_env(&mut self.state, name, value);
        }
        Ok(())
    }

    pub(super) fn label(&mut self, here: Here<'_>, pairs: &KeyValues) -> Checked<()> {
        let pairs = self.pairs(here, pairs)?;
        self.record(pairs_text("LABEL", &pairs), None);
        self.state.config.config.labels.get_or_insert_default().extend(pairs);
        Ok(())
    }

    /// Expands pairs, all with the variables before the instruction (D-063).
    fn pairs(&mut self, here: Here<'_>, pairs: &KeyValues) -> Checked<Vec<(String, String)>> {
        let keyword = here.instruction.keyword.value.to_uppercase();
        pairs
            .pairs
            .iter()
            .map(|(key, value)| {
                let name = self.word(here, key)?;
                if name.is_empty() {
                    return Err(here.at(key).error(format!("{keyword} names can not be blank")));
                }
                Ok((name, self.word(here, value)?))
            })
            .collect()
    }

    pub(super) fn user(&mut self, here: Here<'_>, word: &Spanned<String>) -> Checked<()> {
        let user = self.word(here, word)?;
        self.record(format!("USER {user}"), None);
        self.state.config.config.user = user;
        Ok(())
    }

    pub(super) fn volume(&mut self, here: Here<'_>, words: &[Spanned<String>]) -> Checked<()> {
        let mut paths = Vec::new();
        for word in words {
            let path = self.word(here, word)?;
            if path.is_empty() {
                return Err(here.at(word).error("VOLUME specified can not be an empty string"));
            }
            paths.push(path);
        }
        self.record(format!("VOLUME [{}]", paths.join(" ")), None);
        let volumes = self.state.config.config.volumes.get_or_insert_default();
        volumes.extend(paths.into_iter().map(|path| (path, Value::Object(Map::new()))));
        Ok(())
    }

    pub(super) fn maintainer(&mut self, name: &Spanned<String>) {
        self.record(format!("MAINTAINER {}", name.value), None);
        self.state.config.author = Some(name.value.clone());
    }

    /// Stores a trigger for images based on this one; this build's own image does nothing with it and
    /// has no history of it (D-266).
    pub(super) fn onbuild(&mut self, here: Here<'_>) {
        let triggers = self.state.config.config.on_build.get_or_insert_default();
        triggers.push(here.instruction.text.clone());
    }

    pub(super) fn stop_signal(&mut self, here: Here<'_>, word: &Spanned<String>) -> Checked<()> {
        let signal = self.word(here, word)?;
        if !is_signal(&signal) {
            return Err(here.at(word).error(format!("invalid signal: {signal}")));
        }
        self.record(format!("STOPSIGNAL {signal}"), None);
        self.state.config.config.stop_signal = Some(signal);
        Ok(())
    }

    pub(super) fn workdir(&mut self, here: Here<'_>, word: &Spanned<String>) -> Checked<()> {
        let written = self.word(here, word)?;
        if !self.state.workdir_set && !written.starts_with('/') {
            let message = workdir_relative_path::message(&written);
            self.warn(here, here.at(word), &workdir_relative_path::RULE, message);
        }
        self.state.workdir_set = true;
        let path = paths::absolute(self.workdir_path(), &written);
        if path.len() > LONGEST_PATH {
            let message = format!("the working directory has more than {LONGEST_PATH} bytes");
            // What is relative to it is not to fail as well.
            self.state.config.config.working_dir = "/".to_owned();
            return Err(here.at(word).error(message));
        }
        // BuildKit cleans what it joins, and shows an absolute path as it is written (D-245).
        let shown = match written.chars().next() {
            Some('/') => written,
            Some(_) => path.clone(),
            None => self.workdir_path().to_owned(),
        };
        let created_by = format!("WORKDIR {shown}");
        let is_root = shown == "/";
        self.state.config.config.working_dir = shown;
        if is_root {
            self.record(created_by, None);
            return Ok(());
        }
        let name = self.step_name(here, "", "", &[]);
        let op = Op::Workdir(WorkdirOp {
            parent: self.state.vertex,
            path,
            user: self.state.config.config.user.clone(),
            epoch: self.plan.survey.epoch,
        });
        let vertex = self.step(here, op, name);
        self.record(created_by, Some(vertex));
        Ok(())
    }
}

fn pairs_text(keyword: &str, pairs: &[(String, String)]) -> String {
    let mut text = keyword.to_owned();
    for (name, value) in pairs {
        text.extend([" ", name, "=", value]);
    }
    text
}

//! Flags that other builders know and castoff does not build yet. The parser knows them all, so that using
//! one is an error that names it and never a guess or a silence.

use clap::builder::ArgAction;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// The flags of this kind that were used, in the order of the table, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnsupportedFlags {
    used: Vec<(&'static str, Vec<String>)>,
}

impl UnsupportedFlags {
    /// Returns the first flag whose use cannot be granted. Switching off what castoff does not do is
    /// granted: `--squash=false`.
    pub fn first(&self) -> Option<&'static str> {
        let off = |value: &String| super::fields::boolean(value) == Ok(false);
        let (name, _) = self.used.iter().find(|(_, values)| !values.iter().all(off))?;
        Some(name)
    }
}

/// Whether a flag takes a value.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Value,
    Boolean,
}
use Takes::{Boolean, Value};

/// Long name, short name, and whether a value follows.
const TABLE: &[(&str, Option<char>, Takes)] = &[
    // Of docker build and docker buildx build.
    ("cgroup-parent", None, Value),
    ("detach", None, Boolean),
    ("invoke", None, Value),
    ("policy", None, Value),
    ("squash", None, Boolean),
    ("resource", None, Value),
    ("memory", Some('m'), Value),
    ("memory-swap", None, Value),
    ("cpu-shares", Some('c'), Value),
    ("cpu-period", None, Value),
    ("cpu-quota", None, Value),
    ("cpuset-cpus", None, Value),
    ("cpuset-mems", None, Value),
    // Of buildah and kaniko (section 1.2 of the specification).
    ("build-arg-file", None, Value),
    ("retry", None, Value),
    ("retry-delay", None, Value),
    ("push-retry", None, Value),
    ("image-download-retry", None, Value),
    ("image-fs-extract-retry", None, Value),
    ("cache-ttl", None, Value),
    ("ignorefile", None, Value),
    ("all-platforms", None, Boolean),
    ("unsetenv", None, Value),
    ("unsetlabel", None, Value),
    ("unsetannotation", None, Value),
    ("env", None, Value),
    ("inherit-labels", None, Boolean),
    ("omit-history", None, Boolean),
    ("save-stages", None, Boolean),
    ("stage-labels", None, Boolean),
    ("authfile", None, Value),
    ("creds", None, Value),
    ("cert-dir", None, Value),
    ("tls-verify", None, Boolean),
    ("logfile", None, Value),
    ("logsplit", None, Boolean),
    ("volume", Some('v'), Value),
    ("device", None, Value),
    ("cap-add", None, Value),
    ("cap-drop", None, Value),
    ("dns", None, Value),
    ("dns-option", None, Value),
    ("dns-search", None, Value),
    ("userns", None, Value),
    ("userns-uid-map", None, Value),
    ("userns-gid-map", None, Value),
    ("userns-uid-map-user", None, Value),
    ("userns-gid-map-group", None, Value),
    ("format", None, Value),
    ("manifest", None, Value),
];

/// Returns whether a flag, without its dashes, is one of these.
pub(super) fn is_unsupported(flag: &str) -> bool {
    TABLE.iter().any(|(name, _, _)| *name == flag)
}

impl Args for UnsupportedFlags {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, (name, short, takes)| {
            let arg = Arg::new(*name).long(*name).hide(true).action(ArgAction::Append);
            let arg = match short {
                Some(short) => arg.short(*short),
                None => arg,
            };
            command.arg(match takes {
                Boolean => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                Value => arg.num_args(1).allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for UnsupportedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<UnsupportedFlags, clap::Error> {
        let values = |name| matches.get_many::<String>(name).map(|values| values.cloned().collect());
        let used = TABLE.iter().filter_map(|(name, _, _)| Some((*name, values(name)?))).collect();
        Ok(UnsupportedFlags { used })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

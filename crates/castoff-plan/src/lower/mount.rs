//! `RUN --mount` (sections 8.1 to 8.6).

use castoff_dockerfile::{MountFlag, Spanned};
use castoff_graph::{Mount, Sharing};

use crate::paths;
use crate::place::{Checked, Place};
use crate::stage::{FromFlag, SourceName};
use crate::suggest::did_you_mean;

use super::{Here, StageLowering, from};

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

/// What a mount's fields say, expanded; of a repeated key the last one counts.
#[derive(Default)]
struct Fields {
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    size: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    read_only: Option<bool>,
    required: bool,
}

impl StageLowering<'_, '_> {
    /// Lowers a mount; `agents` is how many ssh mounts the step has before it.
    pub(super) fn mount(&mut self, here: Here<'_>, flag: &MountFlag, agents: usize) -> Checked<Mount> {
        let place = here.trigger.unwrap_or_else(|| Place::new(flag.span, here.instruction.lines));
        let kind = self.mount_type(here, flag, place)?;
        let fields = self.fields(here, flag, place, &kind)?;
        match kind.as_str() {
            "bind" => self.bind(fields, place),
            "cache" => self.cache(fields, place),
            "tmpfs" => Ok(Mount::Tmpfs {
                target: self.mount_target(fields.target.as_deref(), place)?,
                size: fields.size,
            }),
            "secret" => self.secret(fields, place),
            _ => self.ssh(fields, agents, place),
        }
    }

    /// Returns the type of a mount. It may stand anywhere among the fields (D-149).
    fn mount_type(&mut self, here: Here<'_>, flag: &MountFlag, place: Place) -> Checked<String> {
        let Some((_, value)) = flag.fields.iter().rev().find(|(key, _)| key == "type") else {
            return Ok("bind".to_owned());
        };
        let Some(value) = value else { return Err(no_value("type", place)) };
        let written = self.mount_value(here, flag, value)?;
        let kind = written.to_lowercase();
        if TYPES.contains(&kind.as_str()) {
            return Ok(kind);
        }
        let hint = did_you_mean(&kind, TYPES);
        Err(place.error_with_hint(format!("unsupported mount type \"{written}\""), hint))
    }

    fn fields(&mut self, here: Here<'_>, flag: &MountFlag, place: Place, kind: &str) -> Checked<Fields> {
        let mut fields = Fields::default();
        for (key, value) in &flag.fields {
            let foreign = || place.error(format!("unexpected key '{key}' for mount type '{kind}'"));
            let value = match value {
                Some(value) if key == "from" => Some(value.clone()),
                Some(value) => Some(self.mount_value(here, flag, value)?),
                None => None,
            };
            match key.as_str() {
                "readonly" | "ro" => fields.read_only = Some(boolean(key, value.as_deref(), place)?),
                "readwrite" | "rw" => fields.read_only = Some(!boolean(key, value.as_deref(), place)?),
                "required" if matches!(kind, "secret" | "ssh") => {
                    fields.required = boolean(key, value.as_deref(), place)?;
                }
                "required" => return Err(foreign()),
                _ => {
                    let Some(value) = value else { return Err(no_value(key, place)) };
                    fields.set(key, value, kind, place)?;
                }
            }
        }
        Ok(fields)
    }

    fn mount_value(&mut self, here: Here<'_>, flag: &MountFlag, value: &str) -> Checked<String> {
        self.word(here, &Spanned { value: value.to_owned(), span: flag.span })
    }

    fn bind(&mut self, fields: Fields, place: Place) -> Checked<Mount> {
        let target = self.mount_target(fields.target.as_deref(), place)?;
        let from = match fields.from.as_deref().filter(|from| !from.is_empty()) {
            Some(word) => self.source_vertex(&SourceName { word, flag: FromFlag::Mount, place })?,
            None => from::context_vertex(self.plan),
        };
        let source = paths::absolute("/", fields.source.as_deref().unwrap_or("/"));
        Ok(Mount::Bind { target, from, source, writable: !fields.read_only.unwrap_or(true) })
    }

    fn cache(&mut self, fields: Fields, place: Place) -> Checked<Mount> {
        let target = self.mount_target(fields.target.as_deref(), place)?;
        let source = paths::absolute("/", fields.source.as_deref().unwrap_or("/"));
        // Without anything to begin with, the source is a path in the cache itself (D-162).
        let (initial, source) =
            match fields.from.as_deref().filter(|from| !from.is_empty() && *from != "scratch") {
                Some(word) => {
                    let vertex = self.source_vertex(&SourceName { word, flag: FromFlag::Mount, place })?;
                    (Some((vertex, source)), "/".to_owned())
                }
                None => (None, source),
            };
        let id = fields.id.filter(|id| !id.is_empty()).unwrap_or_else(|| match fields.target.as_deref() {
            None | Some("") => target.clone(),
            Some(written) => paths::clean(written),
        });
        let id = match self.plan.survey.options.build_arg("BUILDKIT_CACHE_MOUNT_NS") {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{id}"),
            _ => id,
        };
        Ok(Mount::Cache {
            target,
            id,
            sharing: fields.sharing.unwrap_or(Sharing::Shared),
            initial,
            source,
            mode: fields.mode.unwrap_or(0o755),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
            writable: !fields.read_only.unwrap_or(false),
        })
    }

    fn secret(&mut self, fields: Fields, place: Place) -> Checked<Mount> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if fields.from.is_some() {
            return Err(place.error("secret mount should not have a from"));
        }
        let written = given(&fields.target);
        let id = match (given(&fields.id), given(&fields.source)) {
            (Some(_), Some(_)) => return Err(place.error("both source and id can't be set")),
            (Some(id), None) | (None, Some(id)) => Some(id),
            (None, None) => written.as_deref().map(|target| paths::base_name(target).to_owned()),
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(place.error("invalid secret mount. one of source, target required"));
        };
        let env = given(&fields.env);
        let target = match (&written, &env) {
            (None, Some(_)) => None,
            (None, None) => Some(format!("/run/secrets/{}", paths::base_name(&id))),
            (Some(target), _) => Some(self.mount_target(Some(target), place)?),
        };
        Ok(Mount::Secret {
            id,
            target,
            env,
            required: fields.required,
            mode: fields.mode.unwrap_or(0o400),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
        })
    }

    /// D-172.
    fn ssh(&self, fields: Fields, agents: usize, place: Place) -> Checked<Mount> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        if given(fields.source).is_some() {
            return Err(place.error("ssh does not support source"));
        }
        if fields.from.is_some() {
            return Err(place.error("ssh mount should not have a from"));
        }
        let target = match given(fields.target) {
            Some(target) => self.mount_target(Some(&target), place)?,
            None => format!("/run/buildkit/ssh_agent.{agents}"),
        };
        Ok(Mount::Ssh {
            id: given(fields.id).unwrap_or_else(|| "default".to_owned()),
            target,
            required: fields.required,
            mode: fields.mode.unwrap_or(0o600),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
        })
    }

    /// Returns the absolute target; an absent one is the working directory (D-150).
    fn mount_target(&self, target: Option<&str>, place: Place) -> Checked<String> {
        let target = paths::absolute(self.workdir_path(), target.unwrap_or(""));
        if target == "/" {
            return Err(place.error("invalid mount target \"/\""));
        }
        Ok(target)
    }
}

impl Fields {
    fn set(&mut self, key: &str, value: String, kind: &str, place: Place) -> Checked<()> {
        let foreign = || place.error(format!("unexpected key '{key}' for mount type '{kind}'"));
        let owned = matches!(kind, "cache" | "secret" | "ssh");
        match key {
            "type" => {}
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "id" => self.id = Some(value),
            "env" if kind == "secret" => self.env = Some(value),
            "env" => return Err(foreign()),
            "size" if kind == "tmpfs" => {
                self.size = Some(bytes(&value).ok_or_else(|| invalid(key, &value, place))?);
            }
            "size" => return Err(foreign()),
            "sharing" if kind == "cache" => self.sharing = Some(sharing(&value, place)?),
            "sharing" if kind == "secret" => {
                return Err(place.error("secret mount should not define sharing"));
            }
            "sharing" => return Err(place.error(format!("invalid cache sharing set for {kind} mount"))),
            "mode" | "uid" | "gid" if !owned => {
                return Err(place.error(format!("{key} not allowed for \"{kind}\" type mounts")));
            }
            "mode" => self.mode = Some(number(key, &value, 8, place)?),
            "uid" => self.uid = Some(number(key, &value, 10, place)?),
            "gid" => self.gid = Some(number(key, &value, 10, place)?),
            _ => {
                let hint = did_you_mean(key, KEYS);
                return Err(place.error_with_hint(format!("unexpected key '{key}' in '{key}={value}'"), hint));
            }
        }
        Ok(())
    }
}

fn no_value(key: &str, place: Place) -> castoff_dockerfile::Diagnostic {
    let hint = if KEYS.contains(&key) { None } else { did_you_mean(key, KEYS) };
    place.error_with_hint(format!("invalid field '{key}' must be a key=value pair"), hint)
}

fn invalid(key: &str, value: &str, place: Place) -> castoff_dockerfile::Diagnostic {
    place.error(format!("invalid value for {key}: {value}"))
}

/// Parses a boolean as Go does; a bare key is true.
fn boolean(key: &str, value: Option<&str>, place: Place) -> Checked<bool> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(invalid(key, value, place)),
    }
}

fn number(key: &str, value: &str, radix: u32, place: Place) -> Checked<u32> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { u32::from_str_radix(value, radix).ok() } else { None };
    number.ok_or_else(|| place.error(format!("invalid value {value} for {key}")))
}

fn sharing(value: &str, place: Place) -> Checked<Sharing> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        other => {
            let hint = did_you_mean(other, SHARINGS);
            Err(place.error_with_hint(format!("unsupported sharing value \"{value}\""), hint))
        }
    }
}

/// Parses a size such as `64m`, `1.5g` or `10MiB`, in powers of 1024 (D-165).
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = 1024_u64.pow(power);
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some((whole, fraction)) => {
            let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
            let digits = u32::try_from(fraction.len()).ok()?;
            let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
            let scale = 10_u128.checked_pow(digits)?;
            whole.checked_add(u64::try_from(part / scale).ok()?)
        }
    }
}

//! Flags that shape the surroundings of RUN steps: hosts, limits, network and entitlements.

use std::net::IpAddr;

use castoff_graph::{ExtraHost, NetworkMode, Ulimit};

use super::fields;

/// What steps may ask for beyond the default (B-010).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`.
    pub network_host: bool,
    /// `security.insecure`.
    pub security_insecure: bool,
    /// `buildx.local.delete`.
    pub local_delete: bool,
    /// `device` and `device=...`.
    pub devices: Vec<DeviceEntitlement>,
}

/// Devices that steps may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceEntitlement {
    /// `vendor/class`, `vendor/class=*` or `vendor/class=name`; `None` is every device.
    pub name: Option<String>,
    /// What a Dockerfile may call it.
    pub alias: Option<String>,
}

/// Why one of these flags is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepFlagError {
    /// Not a name and an address.
    #[error("`{0}` is not a host and an address: expected host:ip or host=ip")]
    Host(String),
    /// Not an address.
    #[error("invalid IP address in add-host: `{0}`")]
    Address(String),
    /// Not a limit.
    #[error("`{0}` is not a limit: expected type=soft[:hard]")]
    Ulimit(String),
    /// A limit that the kernel does not have.
    #[error("unknown ulimit type `{name}`{}", .near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    UlimitType {
        /// The name as written.
        name: String,
        /// A known name that looks like it.
        near: Option<&'static str>,
    },
    /// The soft limit is above the hard one.
    #[error("`{0}`: the soft limit must not be above the hard limit")]
    UlimitOrder(String),
    /// A network that does not exist.
    #[error("network mode `{0}` is not supported: expected default, none or host")]
    Network(String),
    /// An entitlement that does not exist.
    #[error(
        "unknown entitlement `{0}`: expected network.host, security.insecure, device[=name[,alias=name]] or \
         buildx.local.delete"
    )]
    Entitlement(String),
}

/// Reads one `--add-host` (B-009). Several addresses give several entries; an item that is an address
/// and has no host of its own belongs to the host before it.
pub fn extra_hosts(text: &str) -> Result<Vec<ExtraHost>, StepFlagError> {
    let mut hosts: Vec<ExtraHost> = Vec::new();
    for item in text.split(',') {
        let continued = hosts.last().map(|host| host.name.clone());
        if let (Some(name), Some(address)) = (continued, address(item)) {
            hosts.push(ExtraHost { name, address });
            continue;
        }
        let split = item.find(['=', ':']).filter(|at| *at > 0);
        let split = split.ok_or_else(|| StepFlagError::Host(item.to_owned()))?;
        let (name, value) = (&item[..split], &item[split + 1..]);
        if name.contains(char::is_whitespace) || value.is_empty() {
            return Err(StepFlagError::Host(item.to_owned()));
        }
        let address = address(value).ok_or_else(|| StepFlagError::Address(value.to_owned()))?;
        hosts.push(ExtraHost { name: name.to_owned(), address });
    }
    Ok(hosts)
}

fn address(text: &str) -> Option<String> {
    if text == "host-gateway" {
        return Some(text.to_owned());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|address| address.to_string())
}

const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads one `--ulimit` (B-041).
pub fn ulimit(text: &str) -> Result<Ulimit, StepFlagError> {
    let error = || StepFlagError::Ulimit(text.to_owned());
    let (name, limits) = text.split_once('=').ok_or_else(error)?;
    if !ULIMITS.contains(&name) {
        let near = fields::nearest(name, ULIMITS);
        return Err(StepFlagError::UlimitType { name: name.to_owned(), near });
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse().ok().filter(|limit| *limit >= -1_i64).ok_or_else(error),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(StepFlagError::UlimitOrder(text.to_owned()));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads `--network` (B-025).
pub fn network(text: &str) -> Result<NetworkMode, StepFlagError> {
    match text {
        "" | "default" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(StepFlagError::Network(other.to_owned())),
    }
}

/// Adds one `--allow` (B-010).
pub fn allow(text: &str, entitlements: &mut Entitlements) -> Result<(), StepFlagError> {
    match text {
        "network.host" => entitlements.network_host = true,
        "security.insecure" => entitlements.security_insecure = true,
        "buildx.local.delete" => entitlements.local_delete = true,
        "device" => entitlements.devices.push(DeviceEntitlement::default()),
        other => {
            let device = other.strip_prefix("device=").and_then(device);
            let unknown = || StepFlagError::Entitlement(other.to_owned());
            entitlements.devices.push(device.ok_or_else(unknown)?);
        }
    }
    Ok(())
}

/// Reads `name[,alias=name]`, in which the name may have `name=` before it.
fn device(text: &str) -> Option<DeviceEntitlement> {
    let mut entitlement = DeviceEntitlement::default();
    for field in text.split(',') {
        match field.strip_prefix("alias=") {
            Some(alias) if !alias.is_empty() && entitlement.alias.is_none() => {
                entitlement.alias = Some(alias.to_owned());
            }
            Some(_) => return None,
            None if entitlement.name.is_none() => {
                let name = field.strip_prefix("name=").unwrap_or(field);
                entitlement.name = Some(name.to_owned()).filter(|name| name.contains('/'));
                entitlement.name.as_ref()?;
            }
            None => return None,
        }
    }
    entitlement.name.is_some().then_some(entitlement)
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-010
    #[test]
    fn devices_are_allowed_by_name() {
        let check = |text: &str, expected: Option<(Option<&str>, Option<&str>)>| {
            let mut entitlements = Entitlements::default();
            let read = allow(text, &mut entitlements).ok().map(|()| entitlements.devices.remove(0));
            let expected = expected.map(|(name, alias)| DeviceEntitlement {
                name: name.map(str::to_owned),
                alias: alias.map(str::to_owned),
            });
            assert_eq!(read, expected, "{text}");
        };
        check("device", Some((None, None)));
        check("device=v.com/gpu", Some((Some("v.com/gpu"), None)));
        check("device=v.com/gpu=a,alias=gpu", Some((Some("v.com/gpu=a"), Some("gpu"))));
        check("device=name=v.com/gpu=*", Some((Some("v.com/gpu=*"), None)));
        check("device=", None);
        check("device=gpu", None);
        check("device=alias=gpu", None);
        check("device=v.com/gpu,v.com/other", None);
        check("devices", None);
    }

    // B-009
    #[test]
    fn hosts_take_either_separator_and_several_addresses() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let hosts = extra_hosts(text).ok();
            let hosts: Option<Vec<(&str, &str)>> = hosts
                .as_ref()
                .map(|hosts| hosts.iter().map(|host| (host.name.as_str(), host.address.as_str())).collect());
            assert_eq!(hosts.as_deref(), expected, "{text}");
        };
        check("db:10.0.0.1", Some(&[("db", "10.0.0.1")]));
        check("db=10.0.0.1", Some(&[("db", "10.0.0.1")]));
        check("db:::1", Some(&[("db", "::1")]));
        check("db=[::1]", Some(&[("db", "::1")]));
        check("me:host-gateway", Some(&[("me", "host-gateway")]));
        check("db=10.0.0.1,10.0.0.2", Some(&[("db", "10.0.0.1"), ("db", "10.0.0.2")]));
        check("db=10.0.0.1,::1", Some(&[("db", "10.0.0.1"), ("db", "::1")]));
        check("a:1.1.1.1,b:2.2.2.2", Some(&[("a", "1.1.1.1"), ("b", "2.2.2.2")]));
        check("db", None);
        check(":10.0.0.1", None);
        check("db:", None);
        check("db:nowhere", None);
        check("d b:1.1.1.1", None);
    }

    // B-041
    #[test]
    fn ulimits_have_a_soft_and_a_hard_side() {
        let check = |text: &str, expected: Option<(&str, i64, i64)>| {
            let limit = ulimit(text).ok();
            assert_eq!(
                limit.as_ref().map(|limit| (limit.name.as_str(), limit.soft, limit.hard)),
                expected,
                "{text}"
            );
        };
        check("nofile=1024", Some(("nofile", 1024, 1024)));
        check("nofile=1024:2048", Some(("nofile", 1024, 2048)));
        check("memlock=-1:-1", Some(("memlock", -1, -1)));
        check("nproc=5:-1", Some(("nproc", 5, -1)));
        check("nofile=2048:1024", None);
        check("nofile=-1:1024", None);
        check("nofile=-2", None);
        check("nofile", None);
        check("files=1", None);
        check("nofile=a", None);
    }
}

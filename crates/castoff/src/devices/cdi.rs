//! Specifications of devices, as the Container Device Interface (CDI) 1.0 writes them.
//!
//! What castoff cannot give a step is an error when the device is used, and never left out.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Names the class that a device can be asked for by, beside its kind (BuildKit's annotation).
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// Lets every build use a device (BuildKit's annotation).
const AUTOMATIC: &str = "org.mobyproject.buildkit.device.autoallow";

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    /// `vendor/class`.
    pub(crate) kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    devices: Vec<SpecDevice>,
    /// What every device of the file needs.
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecDevice {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// What a container gets. Fields that castoff does not know are kept by name, to be complained about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edits {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    device_nodes: Vec<Node>,
    #[serde(default)]
    mounts: Vec<MountEdit>,
    #[serde(default, rename = "additionalGids", alias = "additionalGIDs")]
    additional_gids: Vec<u32>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    #[serde(default)]
    host_path: Option<String>,
    #[serde(default)]
    permissions: Option<String>,
    /// Type and numbers, which the node of the machine has already, and owner and mode.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MountEdit {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// A device with all that a step needs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// `vendor/class=name`.
    pub(crate) name: String,
    class: Option<String>,
    /// Whether it needs no entitlement.
    pub(crate) automatic: bool,
    edits: [Edits; 2],
}

/// What a step is given for a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) env: Vec<(String, String)>,
    /// Path on the machine and in the step.
    pub(crate) nodes: Vec<(String, String)>,
    pub(crate) mounts: Vec<GivenMount>,
    pub(crate) groups: Vec<u32>,
}

/// A file or directory of the machine that belongs to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenMount {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) writable: bool,
    pub(crate) no_suid: bool,
    pub(crate) no_devices: bool,
    pub(crate) no_execution: bool,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("the device `{device}` needs {what}, which castoff cannot give a step")]
    Unsupported { device: String, what: String },
    #[error("the device `{device}` has a malformed variable `{text}`")]
    Variable { device: String, text: String },
}

/// Why a file is no specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Yaml(#[from] serde_norway::Error),
    #[error("the kind `{0}` is not vendor/class")]
    Kind(String),
}

impl Spec {
    /// Reads a file, in YAML or in JSON.
    pub(crate) fn parse(text: &[u8], is_json: bool) -> Result<Spec, SpecError> {
        let spec: Spec =
            if is_json { serde_json::from_slice(text)? } else { serde_norway::from_slice(text)? };
        match spec.kind.split_once('/') {
            Some((vendor, class))
                if !vendor.is_empty() && !class.is_empty() && !class.contains(['/', '=']) =>
            {
                Ok(spec)
            }
            _ => Err(SpecError::Kind(spec.kind)),
        }
    }

    /// Returns the devices of the file, in its order.
    pub(crate) fn devices(&self) -> Vec<Device> {
        let annotation = |device: &SpecDevice, name: &str| {
            device.annotations.get(name).or_else(|| self.annotations.get(name)).cloned()
        };
        self.devices
            .iter()
            .map(|device| Device {
                name: format!("{}={}", self.kind, device.name),
                class: annotation(device, CLASS),
                automatic: annotation(device, AUTOMATIC).is_some_and(|value| value == "true"),
                edits: [self.container_edits.clone(), device.container_edits.clone()],
            })
            .collect()
    }
}

impl Device {
    fn kind(&self) -> &str {
        self.name.split_once('=').map_or(self.name.as_str(), |(kind, _)| kind)
    }

    /// Returns what a step gets.
    ///
    /// # Errors
    /// When there is something among it that castoff cannot give.
    pub(crate) fn given(&self) -> Result<Given, DeviceError> {
        let mut given = Given::default();
        for edits in &self.edits {
            self.add(edits, &mut given)?;
        }
        Ok(given)
    }

    fn add(&self, edits: &Edits, given: &mut Given) -> Result<(), DeviceError> {
        let device = || self.name.clone();
        let refuse = |what: String| Err(DeviceError::Unsupported { device: device(), what });
        if let Some((name, value)) = edits.others.iter().find(|(_, value)| !is_empty(value)) {
            return match (name.as_str(), value[0]["hookName"].as_str()) {
                ("hooks", Some(hook)) => refuse(format!("a hook (`{hook}`)")),
                _ => refuse(format!("`{name}`")),
            };
        }
        for text in &edits.env {
            let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(DeviceError::Variable { device: device(), text: text.clone() });
            };
            given.env.push((name.to_owned(), value.to_owned()));
        }
        for node in &edits.device_nodes {
            // The node is the machine's own, with its owner and mode.
            for field in ["fileMode", "uid", "gid"] {
                if node.others.get(field).is_some_and(|value| !is_empty(value)) {
                    return refuse(format!("`{field}` of the node `{}`", node.path));
                }
            }
            if node.permissions.as_ref().is_some_and(|text| !text.is_empty() && !text.starts_with("rw")) {
                return refuse(format!("`permissions` of the node `{}`", node.path));
            }
            let source = node.host_path.clone().filter(|path| !path.is_empty());
            given.nodes.push((source.unwrap_or_else(|| node.path.clone()), node.path.clone()));
        }
        for mount in &edits.mounts {
            if !matches!(mount.kind.as_deref(), None | Some("" | "bind" | "none")) {
                return refuse(format!("a mount of type `{}`", mount.kind.as_deref().unwrap_or_default()));
            }
            let mut one = GivenMount {
                source: mount.host_path.clone(),
                target: mount.container_path.clone(),
                writable: true,
                no_suid: false,
                no_devices: false,
                no_execution: false,
            };
            for option in &mount.options {
                match option.as_str() {
                    "ro" => one.writable = false,
                    "nosuid" => one.no_suid = true,
                    "nodev" => one.no_devices = true,
                    "noexec" => one.no_execution = true,
                    // Nothing that a step mounts leaves it, and nothing comes in later.
                    "rw" | "bind" | "rbind" | "private" | "rprivate" | "slave" | "rslave" => {}
                    other => return refuse(format!("the mount option `{other}`")),
                }
            }
            given.mounts.push(one);
        }
        given.groups.extend(&edits.additional_gids);
        Ok(())
    }
}

fn is_empty(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns the devices that a RUN asks for: `vendor/class` is the first of a kind, `vendor/class=*` are
/// all, and anything else is a name or a class of an annotation (D-178).
pub(crate) fn find<'d>(devices: &'d [Device], wanted: &str) -> Vec<&'d Device> {
    if wanted.contains('/') {
        return match wanted.split_once('=') {
            None => devices.iter().find(|device| device.kind() == wanted).into_iter().collect(),
            Some((kind, "*")) => devices.iter().filter(|device| device.kind() == kind).collect(),
            Some(_) => devices.iter().filter(|device| device.name == wanted).collect(),
        };
    }
    devices.iter().filter(|device| device.class.as_deref() == Some(wanted)).collect()
}

/// Returns whether an entitlement, `vendor/class`, `vendor/class=*` or `vendor/class=name`, is for a device.
pub(crate) fn covers(entitlement: &str, device: &Device) -> bool {
    match entitlement.split_once('=') {
        None | Some((_, "*")) => device.kind() == entitlement.trim_end_matches("=*"),
        Some(_) => device.name == entitlement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
cdiVersion: \"0.6.0\"
kind: vendor.com/gpu
annotations:
  org.mobyproject.buildkit.device.class: accelerator
containerEdits:
  env: [ALL=1]
devices:
  - name: zero
    containerEdits:
      env: [\"GPU=0\"]
      deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null, permissions: rw}]
      mounts:
        - {hostPath: /opt/lib, containerPath: /lib/gpu, options: [ro, nosuid, nodev, rbind, rprivate]}
      additionalGids: [7]
  - name: one
    annotations:
      org.mobyproject.buildkit.device.autoallow: \"true\"
  - name: hooked
    containerEdits:
      hooks: [{hookName: createContainer, path: /bin/hook}]
";

    fn devices() -> Vec<Device> {
        Spec::parse(YAML.as_bytes(), false).unwrap().devices()
    }

    // D-178
    #[test]
    fn devices_are_found_by_kind_name_and_class() {
        let devices = devices();
        let check = |wanted: &str, expected: &[&str]| {
            let found = find(&devices, wanted);
            let found: Vec<&str> =
                found.iter().map(|device| device.name.strip_prefix("vendor.com/gpu=").unwrap()).collect();
            assert_eq!(found, expected, "{wanted}");
        };
        check("vendor.com/gpu", &["zero"]);
        check("vendor.com/gpu=one", &["one"]);
        check("vendor.com/gpu=*", &["zero", "one", "hooked"]);
        check("accelerator", &["zero", "one", "hooked"]);
        check("vendor.com/gpu=two", &[]);
        check("vendor.com/other", &[]);
        check("vendor.com/other=*", &[]);
        check("gpu", &[]);
        assert_eq!(devices.iter().map(|device| device.automatic).collect::<Vec<_>>(), [false, true, false]);
    }

    // B-010
    #[test]
    fn entitlements_cover_kinds_and_names() {
        let devices = devices();
        for (entitlement, expected) in [
            ("vendor.com/gpu", true),
            ("vendor.com/gpu=*", true),
            ("vendor.com/gpu=zero", true),
            ("vendor.com/gpu=one", false),
            ("vendor.com/gp", false),
        ] {
            assert_eq!(covers(entitlement, &devices[0]), expected, "{entitlement}");
        }
    }

    // D-178
    #[test]
    fn what_a_device_needs_is_given_or_refused() {
        let devices = devices();
        let given = devices[0].given().unwrap();
        let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        assert_eq!(given.env, [pair("ALL", "1"), pair("GPU", "0")]);
        assert_eq!(given.nodes, [pair("/dev/null", "/dev/gpu0")]);
        let mount = &given.mounts[0];
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("/opt/lib", "/lib/gpu"));
        assert_eq!(
            (mount.writable, mount.no_suid, mount.no_devices, mount.no_execution),
            (false, true, true, false)
        );
        assert_eq!(given.groups, [7]);
        let refused = |edits: &str, what: &str| {
            let text =
                format!(r#"{{"kind": "v.com/c", "devices": [{{"name": "d", "containerEdits": {edits}}}]}}"#);
            let device = Spec::parse(text.as_bytes(), true).unwrap().devices().remove(0);
            let expected = format!("the device `v.com/c=d` needs {what}, which castoff cannot give a step");
            assert_eq!(device.given().unwrap_err().to_string(), expected);
        };
        refused(r#"{"hooks": [{"hookName": "prestart", "path": "/x"}]}"#, "a hook (`prestart`)");
        refused(r#"{"intelRdt": {"closID": "x"}}"#, "`intelRdt`");
        refused(r#"{"netDevices": [{"hostInterfaceName": "e"}]}"#, "`netDevices`");
        refused(r#"{"deviceNodes": [{"path": "/dev/x", "uid": 5}]}"#, "`uid` of the node `/dev/x`");
        refused(
            r#"{"deviceNodes": [{"path": "/dev/x", "permissions": "r"}]}"#,
            "`permissions` of the node `/dev/x`",
        );
        refused(
            r#"{"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "tmpfs"}]}"#,
            "a mount of type `tmpfs`",
        );
        refused(
            r#"{"mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["idmap"]}]}"#,
            "the mount option `idmap`",
        );
    }

    #[test]
    fn what_is_no_specification_is_refused() {
        for text in ["", "[]", "{}", "kind: gpu", "kind: a/b/c", "kind: /gpu", "{", "kind: a/b\ndevices: 5"] {
            assert!(Spec::parse(text.as_bytes(), false).is_err(), "{text}");
        }
        assert!(Spec::parse(b"kind: a.com/b", true).is_err());
    }
}

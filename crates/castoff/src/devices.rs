//! Devices that RUN steps ask for: found in the specifications of this machine, allowed by the caller, and
//! put together before anything runs (D-178).

mod cdi;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use castoff_dockerfile::{Diagnostic, Severity};
use castoff_graph::Op;
use castoff_sandbox::{MountKind, MountSpec};
use castoff_solver::{DeviceGrant, World};

use crate::args::DeviceEntitlement;
use crate::build::{BuildError, Planned};
use cdi::{Device, Given, Spec};

/// Where specifications are, what comes later before what comes earlier.
const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The devices of a machine.
struct Registry {
    /// By name, so that the first of a kind is always the same.
    devices: Vec<Device>,
    /// Devices that two files of one directory define.
    conflicts: BTreeSet<String>,
    /// Files that could not be read, with the reason.
    broken: Vec<String>,
    directories: Vec<PathBuf>,
}

/// Why a request for a device is refused.
struct Refusal {
    message: String,
    hints: Vec<String>,
}

/// Finds what the RUN steps of a plan ask for and puts it into `world`. Specifications are read only when
/// there is a step that asks.
///
/// # Errors
/// When a device is required and not there, not allowed, or needs what castoff cannot give.
pub(crate) fn settle(
    planned: &Planned,
    entitlements: &[DeviceEntitlement],
    world: &mut World,
) -> Result<(), BuildError> {
    let mut registry = None;
    for (_, vertex) in planned.plan.graph.iter() {
        let Op::Run(run) = &vertex.op else { continue };
        for request in &run.devices {
            let registry = registry.get_or_insert_with(|| Registry::read(&world.device_directories));
            match registry.grant(&request.name, request.required, entitlements) {
                Ok(grant) => drop(world.devices.insert(request.name.clone(), grant)),
                Err(Refusal { message, hints }) => {
                    let lines = vertex.origin.as_ref().map(|origin| (origin.first_line, origin.last_line));
                    let diagnostic = Diagnostic {
                        severity: Severity::Error,
                        rule: None,
                        message,
                        span: Default::default(),
                        lines: lines.unwrap_or_default(),
                        hints,
                    };
                    let dockerfile = planned.dockerfile.clone();
                    return Err(BuildError::Diagnostics { dockerfile, diagnostics: vec![diagnostic] });
                }
            }
        }
    }
    Ok(())
}

/// Returns the directories of specifications: those of the variable CASTOFF_CDI_SPEC_DIRS, or the usual.
pub(crate) fn directories(variable: Option<&std::ffi::OsStr>) -> Vec<PathBuf> {
    match variable.filter(|value| !value.is_empty()) {
        Some(value) => std::env::split_paths(value).collect(),
        None => DIRECTORIES.iter().map(PathBuf::from).collect(),
    }
}

impl Registry {
    fn read(directories: &[PathBuf]) -> Registry {
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        let mut conflicts: BTreeSet<String> = BTreeSet::new();
        let mut broken = Vec::new();
        for directory in directories {
            let mut here: BTreeMap<String, Device> = BTreeMap::new();
            let mut twice = BTreeSet::new();
            for path in files(directory) {
                let is_json = path.extension().is_some_and(|extension| extension == "json");
                let text = fs::read(&path).map_err(|error| error.to_string());
                let spec =
                    text.and_then(|text| Spec::parse(&text, is_json).map_err(|error| error.to_string()));
                match spec {
                    Ok(spec) => {
                        for device in spec.devices() {
                            if let Some(other) = here.insert(device.name.clone(), device) {
                                twice.insert(other.name);
                            }
                        }
                    }
                    Err(error) => broken.push(format!("`{}`: {error}", path.display())),
                }
            }
            // A directory that comes later decides, also where the ones before it disagree.
            conflicts.retain(|name| !here.contains_key(name));
            conflicts.append(&mut twice);
            devices.append(&mut here);
        }
        let devices = devices.into_values().collect();
        Registry { devices, conflicts, broken, directories: directories.to_vec() }
    }

    fn grant(
        &self,
        wanted: &str,
        required: bool,
        entitlements: &[DeviceEntitlement],
    ) -> Result<DeviceGrant, Refusal> {
        let alias = entitlements.iter().find(|entitlement| entitlement.alias.as_deref() == Some(wanted));
        let name = alias.and_then(|entitlement| entitlement.name.as_deref()).unwrap_or(wanted);
        let found = cdi::find(&self.devices, name);
        let mut grant = DeviceGrant::default();
        if found.is_empty() && required {
            let places: Vec<String> =
                self.directories.iter().map(|path| format!("`{}`", path.display())).collect();
            let mut hints = vec![format!("devices are specified in {}", places.join(" and "))];
            hints.extend(self.broken.iter().map(|file| format!("a specification could not be read: {file}")));
            return Err(Refusal {
                message: format!("required device \"{wanted}\" is not registered"),
                hints,
            });
        }
        for device in found {
            let covered = |entitlement: &DeviceEntitlement| {
                entitlement.name.as_deref().is_none_or(|name| cdi::covers(name, device))
            };
            if !device.automatic && !entitlements.iter().any(covered) {
                return Err(Refusal {
                    message: format!("device {} is not allowed", device.name),
                    hints: vec![format!("grant it with `--allow device={}`", device.name)],
                });
            }
            if self.conflicts.contains(&device.name) {
                let message = format!("device {} is specified by two files of one directory", device.name);
                return Err(Refusal { message, hints: Vec::new() });
            }
            let given =
                device.given().map_err(|error| Refusal { message: error.to_string(), hints: Vec::new() })?;
            add(&mut grant, given, &device.name)?;
        }
        Ok(grant)
    }
}

/// Returns the specifications of a directory in order; a directory that is not there has none.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_spec = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "json" || extension == "yaml" || extension == "yml")
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_spec).collect();
    files.sort();
    files
}

/// Turns what a device needs into mounts, after a look at whether the machine has it.
fn add(grant: &mut DeviceGrant, given: Given, device: &str) -> Result<(), Refusal> {
    let missing = |path: &str, why: &str| Refusal {
        message: format!("the device `{device}` needs `{path}`, {why}"),
        hints: Vec::new(),
    };
    let absolute = |path: &str| Path::new(path).is_absolute();
    for (source, target) in given.nodes {
        let Ok(metadata) = fs::metadata(&source) else {
            return Err(missing(&source, "which this machine does not have"));
        };
        let kind = metadata.file_type();
        if !kind.is_char_device() && !kind.is_block_device() || !absolute(&source) || !absolute(&target) {
            return Err(missing(&source, "which is no device"));
        }
        let kind = MountKind::Bind { source: source.into(), writable: true };
        grant.mounts.push(MountSpec { target: target.into(), kind });
    }
    for mount in given.mounts {
        if !absolute(&mount.source) || !absolute(&mount.target) || fs::metadata(&mount.source).is_err() {
            return Err(missing(&mount.source, "which this machine does not have"));
        }
        let kind = MountKind::Restricted {
            source: mount.source.into(),
            writable: mount.writable,
            no_suid: mount.no_suid,
            no_devices: mount.no_devices,
            no_execution: mount.no_execution,
        };
        grant.mounts.push(MountSpec { target: mount.target.into(), kind });
    }
    grant.env.extend(given.env);
    grant.groups.extend(given.groups);
    Ok(())
}

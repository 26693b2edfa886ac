//! Platforms: `os/architecture[/variant]`, normalised as containerd does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and processor architecture, in normal form when parsed from text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture, Go's name.
    pub architecture: String,
    /// Operating system, Go's name.
    pub os: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected os/architecture[/variant], such as linux/amd64")]
pub struct PlatformError(pub String);

impl Platform {
    /// Returns the platform this program was built for.
    pub fn host() -> Platform {
        let text = format!("linux/{}", std::env::consts::ARCH);
        text.parse().expect("the compiler's architecture names are plain words")
    }

    /// Returns a platform in normal form (B-029): `aarch64` is `arm64`, `arm` alone is `arm/v7`,
    /// `arm64/v8` is `arm64`.
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.filter(|variant| !variant.is_empty()).map(str::to_ascii_lowercase);
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "aarch64" | "arm64" => ("arm64", variant.filter(|variant| variant != "8" && variant != "v8")),
            "x86_64" | "x86-64" | "amd64" => ("amd64", variant.filter(|variant| variant != "v1")),
            "i386" | "i486" | "i686" | "x86" | "386" => ("386", None),
            "armhf" => ("arm", Some("v7".to_owned())),
            "armel" => ("arm", Some("v6".to_owned())),
            "arm" => {
                let variant = variant.unwrap_or_else(|| "v7".to_owned());
                ("arm", Some(if variant.starts_with('v') { variant } else { format!("v{variant}") }))
            }
            "powerpc64" => ("ppc64le", variant),
            "riscv64gc" => ("riscv64", variant),
            other => {
                return Platform {
                    os,
                    architecture: other.to_owned(),
                    variant,
                    os_version: None,
                    os_features: Vec::new(),
                };
            }
        };
        Platform {
            os,
            architecture: architecture.to_owned(),
            variant,
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// Returns whether an image for `offered` can serve a request for `self`, and how well: a lower
    /// number is a better match, `None` is no match (B-079).
    pub fn accepts(&self, offered: &Platform) -> Option<u32> {
        let offered = Platform::normalised(&offered.os, &offered.architecture, offered.variant.as_deref());
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let level = |platform: &Platform| -> Option<u32> {
            platform.variant.as_deref().map_or(Some(0), |variant| variant.strip_prefix('v')?.parse().ok())
        };
        match (level(self), level(&offered)) {
            (Some(wanted), Some(have)) if have <= wanted => Some(wanted - have),
            _ if self.variant == offered.variant => Some(0),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let error = || PlatformError(text.to_owned());
        if text == "local" {
            return Ok(Platform::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(|part| word(part)) {
            return Err(error());
        }
        match parts[..] {
            [os, architecture] => Ok(Platform::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::normalised(os, architecture, Some(variant))),
            [one @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(Platform::normalised(one, &Platform::host().architecture, None))
            }
            [one] => {
                let platform = Platform::normalised("linux", one, None);
                let known =
                    ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le"];
                if known.contains(&platform.architecture.as_str()) { Ok(platform) } else { Err(error()) }
            }
            _ => Err(error()),
        }
    }
}

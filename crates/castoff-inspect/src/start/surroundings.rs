//! What a process needs beside its program: certificates for TLS, time zones.

use std::io::Read;

use castoff_layer::ViewError;
use castoff_oci::ImageConfig;

use super::files::Files;
use super::program::Process;
use super::{Finding, Rule};

/// Where OpenSSL, GnuTLS, Go and rustls-native-certs look (Go's crypto/x509/root_linux.go has the longest list).
const CERTIFICATE_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/usr/share/ca-certificates",
];
const CERTIFICATE_DIRECTORIES: &[&str] = &["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Libraries that speak TLS with the system's certificates.
const TLS_LIBRARIES: &[&str] =
    &["libssl.so", "libgnutls.so", "libcurl.so", "libcurl-gnutls.so", "libmbedtls.so"];

/// Where time zones are.
const ZONES: &[&str] =
    &["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];

/// Larger programs are not searched for the names of packages.
const SEARCH_LIMIT: u64 = 512 << 20;

pub(super) fn check(
    files: &Files<'_>,
    image: &ImageConfig,
    process: Option<&Process>,
    findings: &mut Vec<Finding>,
) -> Result<(), ViewError> {
    time_zone(files, image, findings)?;
    let Some(process) = process else { return Ok(()) };
    if has_certificates(files, image)? {
        return Ok(());
    }
    let path = &process.program.path;
    let library = process.loading.loaded.iter().find(|loaded| {
        let name = loaded.name.rsplit('/').next().unwrap_or_default();
        TLS_LIBRARIES.iter().any(|library| name.starts_with(library))
    });
    let reason = match library {
        Some(library) => Some(format!("`{path}` loads `{}`", library.name)),
        None => spoken_by(files, process)?.map(|what| format!("`{path}` has {what} in it")),
    };
    if let Some(reason) = reason {
        let message = format!(
            "{reason}, and the image has no certificates of authorities: TLS connections to others will fail"
        );
        let hint =
            "COPY --from=<a stage with ca-certificates> /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/";
        findings.push(Finding::likely(Rule::CertificatesMissing, message).hint(hint));
    }
    Ok(())
}

fn has_certificates(files: &Files<'_>, image: &ImageConfig) -> Result<bool, ViewError> {
    let named =
        ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    if named.iter().any(|name| image.config.variable(name).is_some()) {
        return Ok(true);
    }
    for file in CERTIFICATE_FILES {
        if files.view.resolve(file.as_bytes(), true).is_ok_and(|found| found.node.is_some()) {
            return Ok(true);
        }
    }
    for directory in CERTIFICATE_DIRECTORIES {
        let Ok(found) = files.view.resolve(directory.as_bytes(), true) else { continue };
        let is_directory = found.node.is_some_and(|node| node.entry.is_directory());
        if is_directory && !files.view.read_dir(&found.path)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the TLS implementation inside a program of Go or Rust that uses the machine's certificates.
fn spoken_by(files: &Files<'_>, process: &Process) -> Result<Option<&'static str>, ViewError> {
    // Only what is linked statically has it inside, and both toolchains leave the names of packages in programs.
    const NAMES: [&[u8]; 4] = [
        b"crypto/tls.(*Conn).clientHandshake",
        b"rustls-native-certs",
        b"x509roots/fallback",
        b"webpki-roots",
    ];
    let mut seen = [false; NAMES.len()];
    let longest = NAMES.iter().map(|name| name.len()).max().unwrap_or_default();
    let mut reader = files.view.open(&process.program.node)?.take(SEARCH_LIMIT);
    let mut window = Vec::with_capacity(longest + (256 << 10));
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(source) => {
                let path = process.program.path.trim_start_matches('/').to_owned();
                return Err(ViewError::Io { path, source });
            }
        };
        window.extend_from_slice(&buffer[..count]);
        for (name, seen) in NAMES.iter().zip(&mut seen).filter(|(_, seen)| !**seen) {
            *seen = memchr::memmem::find(&window, name).is_some();
        }
        let keep = window.len().min(longest);
        window.drain(..window.len() - keep);
    }
    let [go, native, embedded_go, embedded_rust] = seen;
    Ok(if go && !embedded_go {
        Some("Go's TLS client")
    } else if native && !embedded_rust {
        Some("rustls and the machine's certificates")
    } else {
        None
    })
}

/// `TZ` names a file below the zones, unless it spells the zone out (POSIX, "Environment Variables").
fn time_zone(files: &Files<'_>, image: &ImageConfig, findings: &mut Vec<Finding>) -> Result<(), ViewError> {
    let Some(zone) = image.config.variable("TZ") else { return Ok(()) };
    let zone = zone.strip_prefix(':').unwrap_or(zone);
    let is_name = zone.contains('/') && !zone.starts_with('/');
    if !is_name || image.config.variable("ZONEINFO").is_some() {
        return Ok(());
    }
    for directory in ZONES {
        if files.find(&format!("{directory}/{zone}"))?.is_some() {
            return Ok(());
        }
    }
    let message = format!("TZ is `{zone}`, and the image has no such time zone: most programs then use UTC");
    let hint = "install tzdata, or copy /usr/share/zoneinfo from a stage that has it";
    findings.push(Finding::likely(Rule::TimeZoneMissing, message).hint(hint));
    Ok(())
}

//! A registry on loopback, and the images that builders start from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::capture;
use crate::http::free_port;
use crate::server::Server;

/// A running registry, which ends with this.
pub(super) struct Registry {
    directory: PathBuf,
    port: u16,
    _server: Server,
}

impl Registry {
    /// Starts an empty registry.
    pub(super) fn start(directory: &Path) -> Result<Registry> {
        let directory = directory.join("registry");
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        let port = free_port()?;
        let config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n  secret: none\n",
            directory.join("storage").display()
        );
        let file = directory.join("config.yml");
        fs::write(&file, config)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        let mut server = Server::start(&mut command, &directory.join("log"))?;
        server.get(port, "/v2/")?;
        Ok(Registry { directory, port, _server: server })
    }

    /// Returns the reference of an image. Every builder takes plain HTTP from this host.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("localhost:{}/{name}:latest", self.port)
    }

    /// Pushes an image whose layers are root file systems on top of each other, as compressed by gzip.
    /// Returns the compressed layers.
    pub(super) fn push(&self, name: &str, roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let blobs = self.directory.join("blobs/sha256");
        let mut diffs = Vec::new();
        let mut layers: Vec<Value> = Vec::new();
        let mut paths = Vec::new();
        for root in roots {
            let tar = self.directory.join("layer.tar");
            archive(root, &tar)?;
            diffs.push(format!("sha256:{}", digest(&tar)?));
            let packed = self.directory.join("layer.tar.gz");
            let mut gzip = Command::new("pigz");
            gzip.args(["-6", "--no-name", "--keep", "--force"]).arg(&tar);
            capture(&mut gzip)?;
            let hex = digest(&packed)?;
            let size = fs::metadata(&packed)?.len();
            fs::rename(&packed, blobs.join(&hex))?;
            fs::remove_file(&tar)?;
            let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
            layers.push(json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": size}));
            paths.push(blobs.join(hex));
        }
        let config = json!({
            "created": "2001-09-09T01:46:40Z",
            "architecture": architecture(),
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diffs},
            "history": diffs.iter().map(|_| json!({"created": "2001-09-09T01:46:40Z", "created_by": "bench"}))
                .collect::<Vec<_>>(),
        });
        let config = self.document(&config, "application/vnd.oci.image.config.v1+json")?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut manifest = self.document(&manifest, kind)?;
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        fs::write(
            self.directory.join("index.json"),
            json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
        )?;
        fs::write(self.directory.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        skopeo.arg(format!("oci:{}:{name}", self.directory.display()));
        capture(skopeo.arg(format!("docker://{}", self.reference(name))))?;
        Ok(paths)
    }

    fn document(&self, document: &Value, media_type: &str) -> Result<Value> {
        let bytes = document.to_string();
        let hex = hex::encode(Sha256::digest(bytes.as_bytes()));
        fs::write(self.directory.join("blobs/sha256").join(&hex), &bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    }
}

/// Writes a directory as a tar whose bytes depend on its files alone.
fn archive(root: &Path, tar: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args([
        "--create",
        "--sort=name",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
        "--mtime=@1000000000",
    ]);
    capture(command.arg("--file").arg(tar).arg("--directory").arg(root).arg(".")).map(drop)
}

fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

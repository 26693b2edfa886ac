//! An image in a directory, and what is found about it.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use castoff_inspect::{Certainty, Finding, StartCheck, User};
use castoff_layer::{Ownership, Tree, View};
use castoff_oci::{ContainerConfig, ImageConfig};
use tempfile::TempDir;

pub(crate) struct Image {
    directory: TempDir,
    pub(crate) config: ImageConfig,
    pub(crate) user: User,
}

impl Image {
    /// An empty image that starts `argv`.
    pub(crate) fn new(argv: &[&str]) -> Image {
        let cmd = Some(argv.iter().map(|word| (*word).to_owned()).collect());
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = ImageConfig {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            config: ContainerConfig { cmd, ..ContainerConfig::default() },
            ..ImageConfig::default()
        };
        let directory = tempfile::tempdir().unwrap();
        // Its own mode is that of the image's root.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Image { directory, config, user: User::Known { uid: 0, groups: vec![0] } }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        let path = self.directory.path().join(path.trim_start_matches('/'));
        for parent in path.parent().unwrap().ancestors().collect::<Vec<_>>().into_iter().rev() {
            if !parent.exists() {
                std::fs::create_dir(parent).unwrap();
                std::fs::set_permissions(parent, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        path
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Image {
        let place = self.path(path);
        std::fs::write(&place, content).unwrap();
        std::fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Image {
        symlink(target, self.path(path)).unwrap();
        self
    }

    /// Brings a file of the machine.
    pub(crate) fn copy(self, from: &Path, path: &str) -> Image {
        let content = std::fs::read(from).unwrap();
        self.file(path, 0o755, content)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Image {
        self.config.config.env.get_or_insert_default().push(format!("{name}={value}"));
        self
    }

    pub(crate) fn user(mut self, uid: u32) -> Image {
        self.user = User::Known { uid, groups: vec![uid] };
        self.config.config.user = uid.to_string();
        self
    }

    pub(crate) fn view(&self) -> View {
        let tree = Tree::directory(self.directory.path(), None, Ownership::Keep).unwrap();
        View::new(vec![Arc::new(tree)])
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let view = self.view();
        StartCheck { view: &view, config: &self.config, user: self.user.clone() }.run().unwrap()
    }

    /// Checks the findings, each as `rule certain|likely: message`.
    pub(crate) fn check(&self, expected: &[&str]) {
        let shown: Vec<String> = self
            .findings()
            .into_iter()
            .map(|finding| {
                let certainty = match finding.certainty {
                    Certainty::Certain => "certain",
                    Certainty::Likely => "likely",
                };
                format!("{} {certainty}: {}", finding.rule.name(), finding.message)
            })
            .collect();
        assert_eq!(shown, expected);
    }
}

/// Programs made by the machine's compiler.
pub(crate) struct Compiler(TempDir);

impl Compiler {
    pub(crate) fn new() -> Compiler {
        Compiler(tempfile::tempdir().unwrap())
    }

    pub(crate) fn place(&self) -> &Path {
        self.0.path()
    }

    /// Compiles a text of C to a file of a name.
    pub(crate) fn make(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        let input = self.place().join(format!("{name}.c"));
        std::fs::write(&input, source).unwrap();
        let output = self.place().join(name);
        let status = Command::new("cc")
            .current_dir(self.place())
            .arg("-o")
            .arg(&output)
            .arg(&input)
            .args(options)
            .status();
        assert!(status.unwrap().success(), "cc {name}");
        output
    }

    /// A program that does nothing, linked dynamically.
    pub(crate) fn program(&self) -> PathBuf {
        self.make("program", "int main(void) { return 0; }", &[])
    }
}

/// Returns what the machine's own loader loads for a program, by name: a second opinion of the loader's rules.
pub(crate) fn machine_libraries(program: &Path) -> BTreeMap<String, PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut libraries = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(name), Some("=>"), Some(path)) => {
                libraries.insert(name.to_owned(), PathBuf::from(path));
            }
            (Some(path), Some(_), None) if path.starts_with('/') => {
                libraries.insert(path.to_owned(), PathBuf::from(path));
            }
            _ => {}
        }
    }
    libraries
}

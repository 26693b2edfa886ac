//! A registry for tests of pushing: one repository `x`, uploads in chunks, mounts from `y`, and a closure
//! that may answer in its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use castoff_oci::Digest;

use crate::server::{Answer, Request, Server};

/// What was pushed.
#[derive(Default)]
pub struct Content {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// By tag or digest: the content type and the bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// The bytes of uploads that are not finished.
    pub uploads: BTreeMap<usize, Vec<u8>>,
    /// Digests that the repository `y` has.
    pub elsewhere: Vec<String>,
    begun: usize,
}

/// A running repository.
pub struct Repository {
    pub server: Server,
    pub content: Arc<Mutex<Content>>,
}

impl Repository {
    /// Starts a repository that answers by itself.
    pub fn start() -> Repository {
        Repository::with(|_, _| None)
    }

    /// Starts a repository; what `fault` answers is answered. It may change the content.
    pub fn with(
        fault: impl Fn(&Request, &mut Content) -> Option<Answer> + Send + Sync + 'static,
    ) -> Repository {
        let content = Arc::<Mutex<Content>>::default();
        let of_server = Arc::clone(&content);
        let server = Server::start(move |request| {
            let mut content = of_server.lock().unwrap();
            fault(request, &mut content).unwrap_or_else(|| content.answer(request))
        });
        Repository { server, content }
    }

    /// Returns `METHOD` and what follows `/v2/x/`, without states and digests.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.server.requests();
        let shown = requests.iter().map(|request| {
            let path = request.path.strip_prefix("/v2/x/").unwrap_or(&request.path);
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let path = path.split("sha256:").next().unwrap_or_default();
            let mount = if query.contains("mount=") { "?mount" } else { "" };
            let range = request.header("content-range");
            format!("{} {path}{mount}{}{range}", request.method, if range.is_empty() { "" } else { " " })
        });
        shown.collect()
    }

    pub fn has(&self, bytes: &[u8]) -> bool {
        self.content
            .lock()
            .unwrap()
            .blobs
            .get(&Digest::of(bytes).to_string())
            .is_some_and(|blob| blob == bytes)
    }
}

impl Content {
    pub fn answer(&mut self, request: &Request) -> Answer {
        let path = request.path.strip_prefix("/v2/x/").unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = query.replace("%3A", ":");
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        let upload = path.strip_prefix("blobs/uploads/");
        match (request.method.as_str(), upload) {
            ("POST", Some("")) => {
                let digest = parameter("mount").unwrap_or_default().to_owned();
                if parameter("from") == Some("y") && self.elsewhere.contains(&digest) {
                    self.blobs.insert(digest, Vec::new());
                    return Answer::status(201);
                }
                self.begun += 1;
                self.uploads.insert(self.begun, Vec::new());
                self.standing(self.begun, 202)
            }
            (method, Some(number)) => {
                let number = number.parse().unwrap();
                let Some(bytes) = self.uploads.get_mut(&number) else {
                    return Answer::ok(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#).at(404);
                };
                match method {
                    "PATCH" => {
                        let begin = request.header("content-range").split('-').next().unwrap_or_default();
                        if begin != bytes.len().to_string() {
                            return Answer::status(416);
                        }
                        bytes.extend(&request.body);
                        self.standing(number, 202)
                    }
                    "PUT" => {
                        bytes.extend(&request.body);
                        let bytes = self.uploads.remove(&number).unwrap();
                        let digest = Digest::of(&bytes).to_string();
                        if parameter("digest") != Some(&digest) {
                            return Answer::ok(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#).at(400);
                        }
                        self.blobs.insert(digest, bytes);
                        Answer::status(201)
                    }
                    "DELETE" => {
                        self.uploads.remove(&number);
                        Answer::status(204)
                    }
                    _ => self.standing(number, 204),
                }
            }
            ("HEAD", None) if self.blobs.contains_key(path.strip_prefix("blobs/").unwrap_or_default()) => {
                Answer::status(200)
            }
            ("PUT", None) if path.starts_with("manifests/") => {
                let kind = request.header("content-type").to_owned();
                let name = path.strip_prefix("manifests/").unwrap_or_default().to_owned();
                self.manifests.insert(name, (kind, request.body.clone()));
                let digest = Digest::of(&request.body).to_string();
                Answer::status(201).with("Docker-Content-Digest", &digest)
            }
            _ => Answer::status(404),
        }
    }

    /// Says how far an upload came, and where it goes on: with a state that changes, as registries do.
    fn standing(&self, number: usize, status: u16) -> Answer {
        let has = self.uploads[&number].len();
        Answer::status(status)
            .with("Location", &format!("/v2/x/blobs/uploads/{number}?_state={has}"))
            .with("Range", &format!("0-{}", has.saturating_sub(1)))
    }
}

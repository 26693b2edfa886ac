//! Buckets of S3: conditions, parts, and what passes. A real store is asked by the tests of the product.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

use castoff_oci::{Descriptor, Digest, MediaType};
use castoff_registry::{
    Bucket, BucketCredentials, BucketSettings, Client, Config, Object, ObjectFacts, Pushed, RegistryError,
};

use crate::kit::{blob, config, content, descriptor};
use crate::server::{Answer, Request, Server};

/// Parts of this size, so that a few make a blob.
const CHUNK: usize = 1000;

fn bucket_with(server: &Server, config: Config) -> Bucket {
    let settings = BucketSettings {
        name: "cache".to_owned(),
        region: "eu-west-1".to_owned(),
        endpoint: Some(server.url("")),
        path_style: false,
        credentials: BucketCredentials {
            access_key_id: "id".to_owned(),
            secret_access_key: "opensesame".to_owned(),
            session_token: None,
        },
        uploads_at_once: 2,
        attempts: None,
        clock: || 1_800_000_000_000,
    };
    Bucket::new(Client::new(config), &settings).unwrap()
}

fn bucket(server: &Server) -> Bucket {
    let mut config = config();
    config.chunk = CHUNK as u64;
    bucket_with(server, config)
}

fn error(status: u16, code: &str) -> Answer {
    let text =
        format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>It says so</Message></Error>");
    Answer::ok(text).at(status)
}

/// Returns the path of a request without its query, and the part of the query that is not the signature.
fn asked(request: &Request) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let signature = |pair: &&str| !pair.starts_with("X-Amz-");
    let query: Vec<&str> = query.split('&').filter(signature).collect();
    format!("{} {path} {}", request.method, query.join("&")).trim_end().to_owned()
}

fn put(bucket: &Bucket, descriptor: &Descriptor, bytes: &[u8]) -> Result<Pushed, RegistryError> {
    let bytes = bytes.to_vec();
    let open = move |offset: u64| -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(bytes[usize::try_from(offset).unwrap()..].to_vec())))
    };
    bucket.put_blob("b", descriptor, &open)
}

/// A store: what is put is there, conditions hold, parts make an object.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<usize, Vec<u8>>,
}

impl Store {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap();
        let taken = self.objects.contains_key(path) && request.header("if-none-match") == "*";
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let number = || {
            let text = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
            text.unwrap().parse::<usize>().unwrap()
        };
        match request.method.as_str() {
            "PUT" | "POST" if taken => error(412, "PreconditionFailed"),
            "POST" if has("uploads") => Answer::ok("<R><UploadId>u1</UploadId></R>"),
            "PUT" if has("uploadId") => {
                self.parts.insert(number(), request.body.clone());
                Answer::ok("").with("ETag", &format!("\"{}\"", number()))
            }
            "POST" => {
                let whole = self.parts.values().flatten().copied().collect();
                self.objects.insert(path.to_owned(), whole);
                Answer::ok("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
            }
            "PUT" => {
                self.objects.insert(path.to_owned(), request.body.clone());
                Answer::ok("")
            }
            "HEAD" => match self.objects.get(path) {
                Some(object) => Answer { length: Some(object.len()), ..Answer::ok("") },
                None => Answer::status(404),
            },
            "GET" => match self.objects.get(path) {
                Some(object) => blob(request, object),
                None => error(404, "NoSuchKey"),
            },
            _ => Answer::status(204),
        }
    }
}

/// Starts a store in front of which `fault` may answer.
fn store(fault: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let store = Mutex::new(Store::default());
    Server::start(move |request| fault(request).unwrap_or_else(|| store.lock().unwrap().answer(request)))
}

fn methods(server: &Server) -> Vec<String> {
    server.requests().iter().map(asked).collect()
}

// B-129
#[test]
fn small_objects_are_put_and_read() {
    let server = Server::start(|request| match request.method.as_str() {
        "GET" if request.path.starts_with("/cache/none?") => error(404, "NoSuchKey"),
        "GET" => Answer::ok("text").with("Last-Modified", "Thu, 01 Jan 1970 00:00:02 GMT"),
        "HEAD" => Answer { length: Some(9), ..Answer::ok("") },
        _ => Answer::ok(""),
    });
    let bucket = bucket(&server);
    assert_eq!(bucket.object("none", 10).unwrap(), None);
    let object = Object { bytes: b"text".to_vec(), modified_ms: Some(2000) };
    assert_eq!(bucket.object("a/sha256:1", 4).unwrap(), Some(object));
    assert!(matches!(bucket.object("a", 3), Err(RegistryError::TooLarge { .. })));
    let facts = ObjectFacts { size: 9, modified_ms: None };
    assert_eq!(bucket.facts("a").unwrap(), Some(facts));
    bucket.put("a", b"new").unwrap();
    bucket.touch("a b").unwrap();
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.path.contains("X-Amz-Signature=")));
    assert!(!format!("{requests:?}").contains("opensesame"));
    let last = &requests[requests.len() - 2..];
    assert_eq!(last[0].body, b"new");
    assert_eq!(asked(&last[1]), "PUT /cache/a%20b");
    assert_eq!(last[1].header("x-amz-copy-source"), "cache/a%20b");
    assert!(last[1].path.contains("SignedHeaders=host%3Bx-amz-copy-source%3Bx-amz-metadata-directive"));
}

// B-129, B-081: a store's own code and message are told, and nothing is asked twice that will not change.
#[test]
fn refusals_are_in_the_words_of_the_store() {
    let check = |status: u16, code: &'static str, expected: &str| {
        let server = Server::start(move |_| error(status, code));
        let said = bucket(&server).object("x", 10).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("X-Amz"), "{said}");
        assert_eq!(server.requests().len(), 1, "{said}");
    };
    check(404, "NoSuchBucket", "/cache/x: status 404: NoSuchBucket: It says so");
    check(403, "SignatureDoesNotMatch", "status 403: SignatureDoesNotMatch: It says so");
    check(400, "AuthorizationHeaderMalformed", "status 400: AuthorizationHeaderMalformed: It says so");
    let server = Server::start(|_| {
        let location = "http://elsewhere.example/";
        error(301, "PermanentRedirect").with("x-amz-bucket-region", "us-east-2").with("Location", location)
    });
    let said = bucket(&server).object("x", 10).unwrap_err().to_string();
    assert!(said.contains("PermanentRedirect: the bucket is in the region us-east-2"), "{said}");
}

// B-081
#[test]
fn what_passes_is_tried_again() {
    let server =
        store(|request| (request.nth == 0 && request.method != "HEAD").then(|| error(503, "SlowDown")));
    let bytes = content(100);
    assert_eq!(put(&bucket(&server), &descriptor(&bytes), &bytes).unwrap(), Pushed::Sent);
    let mut read = Vec::new();
    bucket(&server).blob("b", &descriptor(&bytes)).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    let server = Server::start(|_| error(503, "SlowDown"));
    let said = bucket(&server).object("x", 10).unwrap_err().to_string();
    assert!(said.contains("status 503: SlowDown: It says so"), "{said}");
    assert_eq!(server.requests().len(), 3);
}

// B-129: a name of content stands for one content, so whoever comes first is right.
#[test]
fn a_blob_is_put_where_there_is_none() {
    let server = store(|_| None);
    let (bucket, bytes) = (bucket(&server), content(100));
    assert_eq!(put(&bucket, &descriptor(&bytes), &bytes).unwrap(), Pushed::Sent);
    assert_eq!(put(&bucket, &descriptor(&bytes), &bytes).unwrap(), Pushed::Present);
    assert_eq!(methods(&server), ["HEAD /cache/b", "PUT /cache/b", "HEAD /cache/b"]);
    let request = &server.requests()[1];
    assert_eq!(request.header("if-none-match"), "*");
    assert!(request.path.contains("SignedHeaders=host%3Bif-none-match"), "{}", request.path);
    // Another was faster, between the question and the answer.
    let server = store(|request| (request.method == "PUT").then(|| error(412, "PreconditionFailed")));
    assert_eq!(put(&self::bucket(&server), &descriptor(&bytes), &bytes).unwrap(), Pushed::Present);
    // What is there is not whole.
    let server =
        store(|request| (request.method == "HEAD").then(|| Answer { length: Some(7), ..Answer::ok("") }));
    assert_eq!(put(&self::bucket(&server), &descriptor(&bytes), &bytes).unwrap(), Pushed::Sent);
    assert_eq!(server.requests()[1].header("if-none-match"), "");
}

#[test]
fn a_store_without_conditions_is_asked_without() {
    let server =
        store(|request| (request.header("if-none-match") == "*").then(|| error(501, "NotImplemented")));
    let (bucket, bytes) = (bucket(&server), content(100));
    assert_eq!(put(&bucket, &descriptor(&bytes), &bytes).unwrap(), Pushed::Sent);
    let conditions = |server: &Server| {
        let requests = server.requests();
        let puts = requests.iter().filter(|request| request.method == "PUT");
        puts.map(|request| request.header("if-none-match").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(conditions(&server), ["*", ""]);
    let open = |_| -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(content(50)))) };
    bucket.put_blob("c", &descriptor(&content(50)), &open).unwrap();
    assert_eq!(conditions(&server), ["*", "", ""]);
}

// B-129
#[test]
fn a_large_blob_goes_in_parts() {
    let bytes = content(2 * CHUNK + 10);
    // The second part breaks off once, and the end of the upload fails after it began well.
    let server = store(|request| {
        let second = request.path.contains("partNumber=2");
        let end = request.method == "POST" && request.path.contains("uploadId=");
        match request.nth {
            0 if second => Some(Answer::nothing()),
            0 if end => Some(error(200, "InternalError")),
            _ => None,
        }
    });
    let bucket = bucket(&server);
    assert_eq!(put(&bucket, &descriptor(&bytes), &bytes).unwrap(), Pushed::Sent);
    let part = |number: u32| format!("PUT /cache/b partNumber={number}&uploadId=u1");
    let end = "POST /cache/b uploadId=u1".to_owned();
    let expected = ["HEAD /cache/b".to_owned(), "POST /cache/b uploads=1".to_owned()];
    let all = methods(&server);
    assert_eq!(all[0], expected[0]);
    assert!(all[1].starts_with("POST /cache/b uploads"), "{all:?}");
    assert_eq!(all[2..], [part(1), part(2), part(2), part(3), end.clone(), end]);
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("if-none-match"), "*");
    let body = String::from_utf8(last.body).unwrap();
    assert!(body.contains("<PartNumber>3</PartNumber>"), "{body}");
    let mut read = Vec::new();
    bucket.blob("b", &descriptor(&bytes)).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
}

// B-220: what is damaged here is nothing there, and what was sent of it is given up.
#[test]
fn a_damaged_blob_does_not_get_into_a_bucket() {
    let server = store(|_| None);
    let bytes = content(2 * CHUNK + 10);
    let other = Descriptor::new(MediaType::OciLayer, Digest::of(b"other"), bytes.len() as u64);
    let said = put(&bucket(&server), &other, &bytes).unwrap_err().to_string();
    assert!(said.contains("is damaged"), "{said}");
    let all = methods(&server);
    assert_eq!(all.last().unwrap(), "DELETE /cache/b uploadId=u1", "{all:?}");
    assert!(!all.contains(&"POST /cache/b uploadId=u1".to_owned()), "{all:?}");
}

// B-080, B-220
#[test]
fn a_download_is_verified_and_goes_on_after_a_break() {
    let bytes = content(5000);
    let sent = bytes.clone();
    let server = Server::start(move |request| match request.nth {
        0 => blob(request, &sent).cut(1234),
        _ => blob(request, &sent),
    });
    let mut read = Vec::new();
    bucket(&server).blob("b", &descriptor(&bytes)).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    let mut damaged = bytes.clone();
    damaged[2500] ^= 1;
    let server = Server::start(move |request| blob(request, &damaged));
    let error = bucket(&server).blob("b", &descriptor(&bytes)).unwrap().read_to_end(&mut Vec::new());
    assert!(error.unwrap_err().to_string().contains("expected digest"));
}

#[test]
fn offline_no_bucket_is_asked() {
    let server = store(|_| None);
    let mut config = config();
    config.offline = true;
    let error = bucket_with(&server, config).object("x", 10).unwrap_err();
    assert!(error.is_offline(), "{error}");
    assert!(server.requests().is_empty());
}

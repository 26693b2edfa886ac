//! What is found of the packages of an image (B-179).

use std::io::Write as _;

use castoff_inspect::packages::{Inventory, Subject, cyclonedx, scan, spdx};
use castoff_layer::View;
use castoff_oci::Digest;
use proptest::prelude::*;
use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::kit::{Compiler, Image};

/// Checks the packages, each as `purl [licence] places`.
#[track_caller]
fn check(image: &Image, expected: &[&str]) {
    let found = scan(&image.view()).unwrap();
    assert_eq!(found.unread, [], "something was not read");
    assert_eq!(lines(&found), expected);
}

fn lines(found: &Inventory) -> Vec<String> {
    let line = |package: &castoff_inspect::packages::Package| {
        let licence = package.licence.as_deref().unwrap_or("-");
        let places = package.found_in.iter().cloned().collect::<Vec<_>>().join(" ");
        format!("{} [{licence}] {places}", package.purl)
    };
    found.packages.iter().map(line).collect()
}

fn image() -> Image {
    Image::new(&[])
}

const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";

const STATUS: &str = "\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u4
Description: GNU C Library
 Package: this is text

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1
";

#[test]
fn dpkg_packages_are_those_that_are_installed() {
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
                     License: LGPL-2.1+\n\nFiles: x\nLicense: BSD-3-clause\n text\n";
    let image = image()
        .file("/etc/os-release", 0o644, DEBIAN)
        .file("/var/lib/dpkg/status", 0o644, STATUS)
        .file("/usr/share/doc/libc6/copyright", 0o644, copyright)
        .file("/usr/share/doc/libgcc-s1/copyright", 0o644, "no format that machines read\nLicense: no\n");
    check(
        &image,
        &[
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc \
             [BSD-3-clause AND LGPL-2.1+] /var/lib/dpkg/status",
            "pkg:deb/debian/libgcc-s1@12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14 \
             [-] /var/lib/dpkg/status",
        ],
    );
}

#[test]
fn dpkg_packages_of_images_without_dpkg_are_in_files_of_their_own() {
    let image = image()
        .file("/usr/lib/os-release", 0o644, "ID=debian\n")
        .link("/etc/os-release", "../usr/lib/os-release")
        .file("/var/lib/dpkg/status.d/tzdata", 0o644, "Package: tzdata\nVersion: 2024a\nArchitecture: all\n")
        .file("/var/lib/dpkg/status.d/tzdata.md5sums", 0o644, "Package: no\nVersion: 1\n");
    check(&image, &["pkg:deb/debian/tzdata@2024a?arch=all&distro=debian [-] /var/lib/dpkg/status.d/tzdata"]);
}

#[test]
fn apk_packages_have_their_licences() {
    let installed = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld.so\nP:no\n\n\
                     P:libcrypto3\nV:3.1.4-r5\nA:x86_64\nL:Apache-2.0\no:openssl\n\n";
    let image = image().file("/etc/os-release", 0o644, "ID=alpine\nVERSION_ID=3.19.1\n").file(
        "/lib/apk/db/installed",
        0o644,
        installed,
    );
    check(
        &image,
        &[
            "pkg:apk/alpine/libcrypto3@3.1.4-r5?arch=x86_64&distro=alpine-3.19.1&upstream=openssl [Apache-2.0] \
             /lib/apk/db/installed",
            "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1 [MIT] /lib/apk/db/installed",
        ],
    );
}

#[test]
fn npm_packages_are_directories_of_node_modules() {
    let package = |name: &str, licence: &str| {
        format!("\u{feff}{{\"name\":\"{name}\",\"version\":\"1.0.0\",\"license\":{licence}}}")
    };
    let image = image()
        .file("/app/package.json", 0o644, package("the-app", "\"MIT\""))
        .file("/app/node_modules/left/package.json", 0o644, package("left", "\"(MIT OR ISC)\""))
        .file("/app/node_modules/left/lib/package.json", 0o644, "{\"type\":\"module\"}")
        .file("/app/node_modules/@a/b/package.json", 0o644, package("@a/b", "{\"type\":\"BSD\"}"))
        .file("/opt/node_modules/left/package.json", 0o644, package("left", "null"));
    check(
        &image,
        &[
            "pkg:npm/%40a/b@1.0.0 [BSD] /app/node_modules/@a/b/package.json",
            "pkg:npm/left@1.0.0 [(MIT OR ISC)] /app/node_modules/left/package.json \
             /opt/node_modules/left/package.json",
        ],
    );
}

#[test]
fn python_packages_have_the_names_of_the_index() {
    let site = "/usr/lib/python3/site-packages";
    let image = image()
        .file(
            &format!("{site}/Ruamel_Yaml.Clib-0.2.dist-info/METADATA"),
            0o644,
            "Metadata-Version: 2.1\nName: Ruamel_Yaml.Clib\nVersion: 0.2\nLicense-Expression: MIT\n\nName: no\n",
        )
        .file(
            &format!("{site}/old.egg-info/PKG-INFO"),
            0o644,
            "Name: old\nVersion: 1\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n",
        )
        .file(&format!("{site}/one.egg-info"), 0o644, "Name: one\nVersion: 2\nLicense: ZPL 2.1\n");
    check(
        &image,
        &[
            "pkg:pypi/old@1 [BSD License] /usr/lib/python3/site-packages/old.egg-info/PKG-INFO",
            "pkg:pypi/one@2 [ZPL 2.1] /usr/lib/python3/site-packages/one.egg-info",
            "pkg:pypi/ruamel-yaml-clib@0.2 [MIT] \
             /usr/lib/python3/site-packages/Ruamel_Yaml.Clib-0.2.dist-info/METADATA",
        ],
    );
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn maven_packages_are_found_in_archives_and_in_those_within() {
    let properties = |artifact: &str| format!("#made\nversion=1.2\ngroupId=org.a\nartifactId={artifact}\n");
    let inner = archive(&[("META-INF/maven/org.a/inner/pom.properties", properties("inner").as_bytes())]);
    let outer = archive(&[
        ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n"),
        ("META-INF/maven/org.a/outer/pom.properties", properties("outer").as_bytes()),
        ("BOOT-INF/lib/inner.jar", &inner),
    ]);
    let image = image().file("/app.jar", 0o644, outer);
    check(
        &image,
        &[
            "pkg:maven/org.a/inner@1.2 [-] /app.jar!/BOOT-INF/lib/inner.jar",
            "pkg:maven/org.a/outer@1.2 [-] /app.jar",
        ],
    );
}

/// Compiles a program that has bytes in a section of a name.
fn with_section(compiler: &Compiler, name: &str, section: &str, bytes: &[u8]) -> std::path::PathBuf {
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let source = format!(
        "__attribute__((section(\"{section}\"), used)) static const unsigned char data[] = {{ {} }};\n\
         int main(void) {{ return 0; }}\n",
        list.join(", ")
    );
    compiler.make(name, &source, &[])
}

fn go_section(modules: &str) -> Vec<u8> {
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    let marks = "0123456789abcdef";
    for text in ["go1.22.1".to_owned(), format!("{marks}{modules}{marks}")] {
        assert!(text.len() < 1 << 14);
        section.extend([text.len() as u8 | 0x80, (text.len() >> 7) as u8]);
        section.extend(text.bytes());
    }
    section
}

#[test]
fn go_programs_tell_their_modules() {
    let modules = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\n\
                   dep\tgithub.com/A/b\tv1.0.0\th1:x=\ndep\tgithub.com/c/d/v2\tv2.0.0\n\
                   =>\tgithub.com/e/f\tv2.1.0\th1:y=\ndep\tg.org/h\tv1.0.0\n=>\t../h\t\nbuild\t-compiler=gc\n";
    let compiler = Compiler::new();
    let program = with_section(&compiler, "app", ".go.buildinfo", &go_section(modules));
    check(
        &image().copy(&program, "/app"),
        &[
            "pkg:golang/example.com/app [-] /app",
            "pkg:golang/github.com/a/b@v1.0.0 [-] /app",
            "pkg:golang/github.com/e/f@v2.1.0 [-] /app",
            "pkg:golang/stdlib@1.22.1 [-] /app",
        ],
    );
    // Whoever may not be executed is no program.
    check(&image().file("/app", 0o644, std::fs::read(&program).unwrap()), &[]);
}

#[test]
fn rust_programs_tell_their_crates() {
    let list = r#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true},
        {"name":"serde","version":"1.0.200","source":"registry"},
        {"name":"cc","version":"1.0.0","source":"registry","kind":"build"}]}"#;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(list.as_bytes()).unwrap();
    let compiler = Compiler::new();
    let program = with_section(&compiler, "app", ".dep-v0", &encoder.finish().unwrap());
    check(
        &image().copy(&program, "/app"),
        &["pkg:cargo/app@0.1.0 [-] /app", "pkg:cargo/serde@1.0.200 [-] /app"],
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let compiler = Compiler::new();
    let mut broken = go_section("dep\ta.b/c\tv1\n");
    broken[33] = 0x7f;
    let (go, crates) = (
        with_section(&compiler, "go", ".go.buildinfo", &broken),
        with_section(&compiler, "crates", ".dep-v0", b"no zlib"),
    );
    let image = image()
        .copy(&crates, "/crates")
        .copy(&go, "/go")
        .file("/broken.jar", 0o644, "no archive")
        .file("/node_modules/a/package.json", 0o644, "{")
        .file("/var/lib/rpm/rpmdb.sqlite", 0o644, "SQLite format 3\0");
    let found = scan(&image.view()).unwrap();
    let told: Vec<String> =
        found.unread.iter().map(|unread| format!("{}: {}", unread.path, unread.reason)).collect();
    assert_eq!(
        told,
        [
            "/broken.jar: no zip archive",
            "/crates: a damaged list of crates",
            "/go: a Go program that an old compiler made, or a damaged one",
            "/node_modules/a/package.json: no JSON",
            "/var/lib/rpm/rpmdb.sqlite: databases of rpm are not read yet: its packages are missing in the list",
        ]
    );
    assert!(found.packages.is_empty());
    // A document does not hide what is missing.
    let text =
        spdx::document(&found, &subject()).to_string() + &cyclonedx::document(&found, &subject()).to_string();
    assert_eq!(text.matches("rpmdb.sqlite").count(), 2);
}

#[test]
fn a_bomb_in_an_archive_is_not_swallowed() {
    // 80 MiB of nothing in some kilobytes, which is more than an archive in an archive may have.
    let bomb = archive(&[("inner.jar", &vec![0; 80 << 20])]);
    assert!(bomb.len() < 1 << 20);
    let found = scan(&image().file("/app.war", 0o644, bomb).view()).unwrap();
    assert_eq!(found.unread[0].path, "/app.war!/inner.jar");
    assert_eq!(found.unread[0].reason, "too large");
}

/// The files of an archive may be the same compressed bytes.
#[test]
fn archives_that_share_their_bytes_are_not_read_for_ever() {
    let zeros = vec![0; 60 << 20];
    let one = archive(&[("inner.jar", &zeros)]);
    // The end, the list, and what is before it: APPNOTE.TXT 4.3.16, 4.3.12.
    let end = one.len() - 22;
    let list = u32::from_le_bytes(one[end + 16..end + 20].try_into().unwrap()) as usize;
    let (files, entry, mut tail) = (&one[..list], &one[list..end], one[end..].to_vec());
    let mut many = files.to_vec();
    for place in 0..100_u8 {
        let mut entry = entry.to_vec();
        // Another name, of the same length.
        entry[46..48].copy_from_slice(&[b'a' + place / 26, b'a' + place % 26]);
        many.extend(entry);
    }
    tail[8..10].copy_from_slice(&100_u16.to_le_bytes());
    tail[10..12].copy_from_slice(&100_u16.to_le_bytes());
    tail[12..16].copy_from_slice(&((entry.len() * 100) as u32).to_le_bytes());
    many.extend(tail);
    let found = scan(&image().file("/app.jar", 0o644, many).view()).unwrap();
    assert_eq!(found.unread.last().unwrap().path, "/app.jar");
    assert_eq!(found.unread.last().unwrap().reason, "more than 512 MiB in it");
    assert!(found.unread.len() < 20, "{} archives were read", found.unread.len());
}

#[test]
fn an_archive_of_too_many_files_is_not_read() {
    let mut bytes = archive(&[("META-INF/maven/a/b/pom.properties", b"artifactId=b\n")]);
    bytes.splice(0..0, b"PK\x01\x02".repeat(200_001));
    let found = scan(&image().file("/app.jar", 0o644, bytes).view()).unwrap();
    assert_eq!(found.packages, []);
    assert_eq!(found.unread[0].reason, "more than 200000 files");
}

#[test]
fn what_is_too_long_for_a_package_is_none() {
    let status = |architecture: &str| {
        format!("Package: a\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 1\n")
    };
    let image = image().file("/var/lib/dpkg/status", 0o644, status(&"x".repeat(10_000)));
    let found = scan(&image.view()).unwrap();
    assert_eq!(found.packages, []);
    assert_eq!(found.unread[0].reason, "a name or version that is none");
}

fn subject() -> Subject {
    Subject {
        name: "registry.example/app:1".to_owned(),
        digest: Some(Digest::of(b"manifest")),
        platform: "linux/amd64".parse().unwrap(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        tool_version: "1.0".to_owned(),
    }
}

#[test]
fn documents_are_equal_for_equal_images_and_name_every_package() {
    let image = image()
        .file("/etc/os-release", 0o644, DEBIAN)
        .file("/var/lib/dpkg/status", 0o644, STATUS)
        .file("/site/a.egg-info", 0o644, "Name: a\nVersion: 1\nLicense: Some words, and more\n")
        .file("/site/b.egg-info", 0o644, "Name: b\nVersion: 1\nLicense: MIT OR Apache-2.0\n")
        .file("/site/c.egg-info", 0o644, "Name: c\nVersion: 1\nLicense: MIT AND LicenseRef-theirs\n");
    let inventory = scan(&image.view()).unwrap();
    let spdx = spdx::document(&inventory, &subject());
    assert_eq!(spdx, spdx::document(&scan(&image.view()).unwrap(), &subject()));
    is_spdx(&spdx);
    let purls = |packages: &Value, of: &dyn Fn(&Value) -> Value| -> Vec<String> {
        packages
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|package| Some(of(package).as_str()?.to_owned()))
            .collect()
    };
    let known: Vec<String> = inventory.packages.iter().map(|package| package.purl.clone()).collect();
    let listed = purls(&spdx["packages"], &|package| package["externalRefs"][0]["referenceLocator"].clone());
    assert_eq!(listed[1..], known);
    assert!(listed[0].starts_with("pkg:oci/app@sha256%3A") || listed[0].starts_with("pkg:oci/app@sha256:"));
    let licences: Vec<&Value> =
        spdx["packages"].as_array().unwrap().iter().map(|package| &package["licenseDeclared"]).collect();
    assert!(licences.iter().any(|licence| **licence == "MIT OR Apache-2.0"), "{licences:?}");
    // Words, and an expression of a licence that only its author knows (SPDX 2.3, 10.1).
    let own = spdx["hasExtractedLicensingInfos"].as_array().unwrap();
    let mut texts: Vec<&str> = own.iter().map(|own| own["extractedText"].as_str().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["MIT AND LicenseRef-theirs", "Some words, and more"]);
    assert!(own.iter().all(|own| licences.contains(&&own["licenseId"])));
    // Every element that a relationship names is there, each id once.
    let mut ids: Vec<String> = purls(&spdx["packages"], &|package| package["SPDXID"].clone());
    let related: Vec<String> =
        purls(&spdx["relationships"], &|relation| relation["relatedSpdxElement"].clone());
    assert!(related.iter().all(|id| ids.contains(id)));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let cyclonedx = cyclonedx::document(&inventory, &subject());
    assert_eq!(purls(&cyclonedx["components"], &|component| component["purl"].clone()), known);
    assert_eq!(cyclonedx["metadata"]["timestamp"], "2026-01-02T03:04:05Z");
    // Another image has other documents.
    let other = Subject { name: "other".to_owned(), ..subject() };
    assert_ne!(spdx["documentNamespace"], spdx::document(&inventory, &other)["documentNamespace"]);
}

/// Checks the parts of an SPDX document that castoff writes: fields, which of them there must be, and values of
/// closed sets (SPDX 2.3, its JSON schema).
fn is_spdx(document: &Value) {
    #[track_caller]
    fn has(object: &Value, required: &[&str], optional: &[&str]) {
        let object = object.as_object().unwrap();
        assert!(required.iter().all(|field| object.contains_key(*field)), "{object:?}");
        let known =
            |field: &&String| required.contains(&field.as_str()) || optional.contains(&field.as_str());
        assert_eq!(object.keys().find(|field| !known(field)), None, "{object:?}");
    }
    fn each<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
        object[field].as_array().into_iter().flatten()
    }
    has(
        document,
        &["SPDXID", "creationInfo", "dataLicense", "name", "spdxVersion", "documentNamespace"],
        &["packages", "relationships", "hasExtractedLicensingInfos"],
    );
    let fixed = ["SPDXID", "dataLicense", "spdxVersion"].map(|field| document[field].as_str().unwrap());
    assert_eq!(fixed, ["SPDXRef-DOCUMENT", "CC0-1.0", "SPDX-2.3"]);
    // 6.5: an absolute URI without a fragment.
    let namespace = document["documentNamespace"].as_str().unwrap();
    assert!(namespace.starts_with("https://") && !namespace.contains('#'), "{namespace}");
    let creation = &document["creationInfo"];
    has(creation, &["created", "creators"], &["comment"]);
    let created = creation["created"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "6.9: whole seconds of UTC: {created}");
    for creator in each(creation, "creators") {
        let kind = creator.as_str().unwrap().split(": ").next().unwrap();
        assert!(["Person", "Organization", "Tool"].contains(&kind), "{creator}");
    }
    let is_id = |id: &Value| {
        let rest = id.as_str().unwrap().strip_prefix("SPDXRef-").unwrap();
        let valid = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        assert!(valid && !rest.is_empty(), "{id}");
    };
    let purposes = [
        "OTHER",
        "INSTALL",
        "ARCHIVE",
        "FIRMWARE",
        "APPLICATION",
        "FRAMEWORK",
        "LIBRARY",
        "CONTAINER",
        "SOURCE",
        "DEVICE",
        "OPERATING_SYSTEM",
        "FILE",
    ];
    for package in each(document, "packages") {
        has(
            package,
            &["SPDXID", "downloadLocation", "name"],
            &[
                "versionInfo",
                "summary",
                "filesAnalyzed",
                "primaryPackagePurpose",
                "licenseConcluded",
                "licenseDeclared",
                "copyrightText",
                "sourceInfo",
                "externalRefs",
                "checksums",
            ],
        );
        is_id(&package["SPDXID"]);
        assert!(package["filesAnalyzed"] == false, "7.8: else there would be a verification code");
        if let Some(purpose) = package["primaryPackagePurpose"].as_str() {
            assert!(purposes.contains(&purpose), "{purpose}");
        }
        for reference in each(package, "externalRefs") {
            has(reference, &["referenceCategory", "referenceType", "referenceLocator"], &[]);
            assert_eq!(
                (&reference["referenceCategory"], &reference["referenceType"]),
                (&"PACKAGE-MANAGER".into(), &"purl".into())
            );
        }
        for checksum in each(package, "checksums") {
            has(checksum, &["algorithm", "checksumValue"], &[]);
            assert_eq!(
                (&checksum["algorithm"], checksum["checksumValue"].as_str().unwrap().len()),
                (&"SHA256".into(), 64)
            );
        }
    }
    for relationship in each(document, "relationships") {
        has(relationship, &["spdxElementId", "relatedSpdxElement", "relationshipType"], &[]);
        is_id(&relationship["spdxElementId"]);
        assert!(["DESCRIBES", "CONTAINS"].contains(&relationship["relationshipType"].as_str().unwrap()));
    }
    for licence in each(document, "hasExtractedLicensingInfos") {
        has(licence, &["extractedText", "licenseId"], &["name"]);
        assert!(licence["licenseId"].as_str().unwrap().starts_with("LicenseRef-"), "{licence}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in these files, reading them ends without a panic and with documents.
    #[test]
    fn hostile_files_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        text in "(Package|Version|Status|P|V|Name|License|name|=>|dep)[:=\t {\"]{0,2}[ -~\n\t]{0,200}",
        cut in 0_usize..2000,
    ) {
        let jar = archive(&[("META-INF/maven/a/b/pom.properties", text.as_bytes()), ("x.jar", &bytes)]);
        let jar: Vec<u8> = jar.iter().copied().enumerate()
            .map(|(at, byte)| if at == cut { !byte } else { byte }).collect();
        let elf = [&b"\x7fELF\x02\x01\x01"[..], &bytes].concat();
        let image = image()
            .file("/var/lib/dpkg/status", 0o644, &text)
            .file("/lib/apk/db/installed", 0o644, &bytes)
            .file("/node_modules/a/package.json", 0o644, &text)
            .file("/x.egg-info", 0o644, &text)
            .file("/a.jar", 0o644, jar)
            .file("/elf", 0o755, elf);
        let found = scan(&image.view()).unwrap();
        is_spdx(&spdx::document(&found, &subject()));
        cyclonedx::document(&found, &subject());
    }

    /// A program may be broken anywhere.
    #[test]
    fn damaged_programs_do_no_harm(at in 0_usize..600, with in any::<u8>(), length in 0_usize..700) {
        let mut section = go_section("dep\ta.b/c\tv1.0.0\tx\n");
        // An ELF file of one section header table, made by hand: header, section, names, two headers.
        let names = b"\0.go.buildinfo\0.shstrtab\0";
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        let section_at = file.len() as u64;
        file.append(&mut section);
        let section_size = file.len() as u64 - section_at;
        let names_at = file.len() as u64;
        file.extend(names);
        let table_at = file.len() as u64;
        file.resize(file.len() + 64, 0);
        for (name, kind, offset, size) in [(1_u32, 1_u32, section_at, section_size), (15, 3, names_at, 25)] {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend(offset.to_le_bytes());
            file.extend(size.to_le_bytes());
            file.extend([0; 24]);
        }
        file[16] = 2;
        file[18] = 62;
        file[40..48].copy_from_slice(&table_at.to_le_bytes());
        file[52] = 64;
        file[58] = 64;
        file[60] = 3;
        file[62] = 2;
        let whole = scan(&image().file("/app", 0o755, &file).view()).unwrap();
        prop_assert_eq!(whole.packages.len(), 2, "the file is one that is read: {:?}", whole.unread);
        if let Some(byte) = file.get_mut(at) {
            *byte = with;
        }
        file.truncate(length.max(at));
        scan(&image().file("/app", 0o755, &file).view()).unwrap();
    }
}

#[test]
fn an_empty_image_has_nothing() {
    assert_eq!(scan(&View::empty()).unwrap(), Inventory::default());
}

//! What an image is made of and how it was built, as other programs read it.

use super::kit::Kit;

/// Files as package managers leave them.
fn plant(kit: &Kit) {
    let root = "context/root";
    kit.write(&format!("{root}/etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n");
    kit.write(
        &format!("{root}/var/lib/dpkg/status"),
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n",
    );
    kit.write(&format!("{root}/lib/apk/db/installed"), "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n");
    kit.write(
        &format!("{root}/app/node_modules/left/package.json"),
        "{\"name\":\"left\",\"version\":\"1.0.0\",\"license\":\"MIT\"}",
    );
    kit.write(&format!("{root}/site/a.dist-info/METADATA"), "Name: a\nVersion: 3\nLicense: in words\n");
}

const PLANTED: &str = "FROM busybox\nCOPY root /\n";

const PURLS: [&str; 4] = [
    "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
    "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
    "pkg:npm/left@1.0.0",
    "pkg:pypi/a@3",
];

// B-179
#[test]
fn packages_of_an_image_are_listed() {
    let kit = Kit::new();
    plant(&kit);
    kit.build(PLANTED, &["-t", "app"]).succeeds();
    let list = kit.castoff(&["sbom", "app"]).succeeds();
    let lines: Vec<Vec<&str>> = std::str::from_utf8(&list.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "VERSION", "TYPE", "LICENCE"]);
    assert!(lines.contains(&vec!["left", "1.0.0", "npm", "MIT"]), "{lines:?}");
    let spdx = kit.castoff(&["sbom", "--format", "spdx-json", "app"]).succeeds().stdout;
    assert_eq!(spdx, kit.castoff(&["sbom", "--format", "spdx-json", "app"]).succeeds().stdout);
    let spdx: serde_json::Value = serde_json::from_slice(&spdx).unwrap();
    let purls: Vec<&str> = spdx["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .filter(|purl| !purl.starts_with("pkg:oci/"))
        .collect();
    assert_eq!(purls, PURLS);
    let cyclonedx = kit.castoff(&["sbom", "--format", "cyclonedx-json", "app"]).succeeds().stdout;
    let cyclonedx: serde_json::Value = serde_json::from_slice(&cyclonedx).unwrap();
    let purls: Vec<&str> = cyclonedx["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|component| component["purl"].as_str())
        .collect();
    assert_eq!(purls, PURLS);
    kit.castoff(&["sbom", "nothing"]).fails().says("there is no image `nothing` in the store");
}

// A list that lacks something says so.
#[test]
fn what_is_not_read_is_said() {
    let kit = Kit::new();
    kit.write("context/rpmdb.sqlite", "SQLite format 3\0");
    kit.build("FROM scratch\nCOPY rpmdb.sqlite /var/lib/rpm/\n", &["-t", "app"]).succeeds();
    kit.castoff(&["sbom", "app"]).succeeds().says("warning: not read: /var/lib/rpm/rpmdb.sqlite");
}

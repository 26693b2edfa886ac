//! What is written fits OCI's own schemas, whatever it is written as.

use std::process::Command;

use super::kit::{Done, Kit, tool};

const EVERYTHING: &str = "FROM scratch\nCOPY file /\nCMD [\"x\"]\nENTRYPOINT y z\nEXPOSE 80 53/udp\nVOLUME /v\n\
    HEALTHCHECK --interval=3s CMD true\nUSER 1:2\nSTOPSIGNAL 9\nSHELL [\"/x\"]\nLABEL a=b\nONBUILD RUN y\n\
    WORKDIR /w\nMAINTAINER m\nENV e=f\n";

// B-102, B-107, B-110, B-177; image-spec, schema/
#[test]
fn documents_fit_the_schemas_of_the_specification() {
    let kit = Kit::new();
    kit.write("context/file", "content\n");
    let several = ["--platform", "linux/amd64,linux/arm/v7", "--annotation", "index,index-descriptor:i=1"];
    let annotated = ["--annotation", "manifest,manifest-descriptor:m=2", "-t", "app:1", "-t", "other"];
    let attested = ["--sbom=true", "--provenance=mode=max"];
    let mut layouts = Vec::new();
    for (flags, keys) in [
        (&[][..], ""),
        (&annotated, ",compression=estargz"),
        (&annotated, ",compression=zstd,rewrite-timestamp=true,source-date-epoch=1"),
        (&several, ",compression=uncompressed"),
        (&attested, ""),
        (&attested, ",oci-artifact=false"),
    ] {
        let name = format!("layout{}", layouts.len());
        let output = format!("type=oci,tar=false,dest={name}{keys}");
        for dockerfile in [EVERYTHING, "FROM scratch\nCOPY file /other\n"] {
            // The second extends what the first has written.
            kit.build(dockerfile, &[flags, &["-o", &output]].concat()).succeeds();
        }
        layouts.push(name);
    }
    // What is taken in is written out again.
    kit.build(EVERYTHING, &["-o", "type=oci,tar=false,dest=loaded,name=loaded:1"]).succeeds();
    kit.castoff(&["load", "-i", "loaded"]).succeeds();
    kit.castoff(&["save", "--format", "oci", "-o", "saved.tar", "loaded:1"]).succeeds();
    std::fs::create_dir(kit.path("saved")).unwrap();
    let mut unpack = Command::new("tar");
    unpack.args(["-xf", "saved.tar", "-C", "saved"]).current_dir(kit.path(""));
    assert!(unpack.status().unwrap().success());
    layouts.extend(["loaded".to_owned(), "saved".to_owned()]);
    let paths: Vec<String> = layouts.iter().map(|name| kit.path(name).display().to_string()).collect();
    let mut words = vec!["-c", include_str!("schemas.py")];
    words.extend(paths.iter().map(String::as_str));
    let Some(checked) = tool("/usr/bin/python3", &words, &kit.path("")) else { return };
    let counts: Vec<&str> = checked.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    // Without a name the one entry is replaced; of two names there are two; an index has two images.
    // An attestation manifest has no config of its own as an artifact.
    assert_eq!(counts, ["2", "4", "4", "5", "4", "5", "2", "2"], "{checked}");
    // The check does find what is wrong.
    let index = kit.read("saved/index.json").replace("\"digest\":\"sha256:", "\"digest\":\"sha256");
    kit.write("saved/index.json", index);
    let mut broken = Command::new("/usr/bin/python3");
    broken.args(["-c", include_str!("schemas.py")]).arg(kit.path("saved"));
    broken.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Done::of(broken).fails().says("sha256");
}

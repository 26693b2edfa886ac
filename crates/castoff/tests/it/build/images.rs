//! Images that come from elsewhere and go elsewhere: archives, layouts, other stores.

use super::kit::{FileOf, Files, Kit, layers, with_steps, with_steps_as_each_user};

// B-102, B-220
#[test]
fn an_image_is_the_same_after_save_and_load() {
    with_steps_as_each_user(|kit| {
        let dockerfile =
            "FROM busybox\nRUN echo made > /made && chmod 4755 /made\nENV A=b\nCMD [\"cat\", \"/made\"]\n";
        kit.build(dockerfile, &["-t", "saved:1"]).succeeds();
        let id = kit.inspect("saved:1")["Id"].clone();
        for format in ["docker", "oci"] {
            let saved = kit.castoff(&["save", "--format", format, "saved:1"]).succeeds();
            let other = kit.another();
            let loaded = other.castoff_reading(&["load"], &saved.stdout).succeeds();
            assert!(loaded.text().contains("saved:1"), "{}", loaded.text());
            assert_eq!(other.inspect("saved:1")["Id"], id);
            assert_eq!(other.castoff(&["run", "saved:1"]).succeeds().text(), "made\n");
            // What is saved from there is the same bytes.
            let again = other.castoff(&["save", "--format", format, "saved:1"]).succeeds();
            assert_eq!(again.stdout, saved.stdout, "{format}");
            let done = other.build("FROM saved:1\nRUN test -u /made\n", &[]).succeeds();
            assert_eq!(done.executed(), ["RUN test -u /made"]);
        }
    });
}

// B-219, B-220
#[test]
fn a_damaged_archive_is_refused() {
    let kit = Kit::new();
    kit.write("context/file", "a text to look for in the archive");
    kit.build("FROM scratch\nCOPY file /\n", &["-t", "saved"]).succeeds();
    let flags = ["-t", "saved", "-o", "type=oci,dest=saved.tar,compression=uncompressed"];
    kit.build("FROM scratch\nCOPY file /\n", &flags).succeeds();
    let mut bytes = std::fs::read(kit.path("saved.tar")).unwrap();
    let needle = b"a text to look for";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    let other = kit.another();
    other.castoff_reading(&["load"], &bytes).fails().says("sha256:");
    other.castoff(&["inspect", "saved"]).fails();
    other.castoff_reading(&["load"], b"not an archive").fails();
    other.castoff_reading(&["load"], b"").fails();
}

#[test]
fn a_file_system_becomes_an_image() {
    with_steps_as_each_user(|kit| {
        let files = kit.build("FROM busybox\nRUN echo x > /x\n", &["-o", "-"]).succeeds();
        let done = kit.castoff_reading(&["import", "-", "flat:1"], &files.stdout).succeeds();
        assert_eq!(done.text().trim(), kit.inspect("flat:1")["Id"].as_str().unwrap());
        assert_eq!(kit.castoff(&["run", "flat:1", "cat", "/x"]).succeeds().text(), "x\n");
        let done = kit.build("FROM flat:1\nRUN cat /x > /y\n", &[]).succeeds();
        assert_eq!(done.executed(), ["RUN cat /x > /y"]);
        kit.castoff(&["import", "--change", "CMD x", "-", "never"]).fails().says("not supported yet");
    });
}

// The layers of a RUN exist as directories only, until an archive needs them.
#[test]
fn an_image_of_this_store_is_a_base_image() {
    with_steps_as_each_user(|kit| {
        kit.build("FROM busybox\nRUN mkdir /d && echo one > /d/one && rm /etc/group\n", &["-t", "base"])
            .succeeds();
        let dockerfile =
            "FROM base\nRUN cat /d/one > /seen; test ! -e /etc/group\nCOPY --from=base /d /copied\n";
        kit.build(dockerfile, &["-t", "derived"]).succeeds();
        kit.castoff(&["save", "-o", "derived.tar", "derived"]).succeeds();
        let layers = layers(&kit.path("derived.tar"));
        assert_eq!(layers[1].paths(), ["d", "d/one", "etc", "etc/.wh.group"]);
        assert_eq!(layers[2].paths(), ["seen"]);
        assert_eq!(layers[3].paths(), ["copied", "copied/one"]);
        // A new name for the same bytes is the same base (D-305); other bytes are another.
        kit.castoff(&["tag", "base", "base:again"]).succeeds();
        let done = kit.build(&dockerfile.replace("FROM base", "FROM base:again"), &[]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
        kit.build("FROM busybox\nRUN mkdir /d && echo two > /d/one && rm /etc/group\n", &["-t", "base"])
            .succeeds();
        let done = kit.build(dockerfile, &[]).succeeds();
        assert_eq!(done.cached(), Vec::<&str>::new());
    });
}

// B-072 to B-076
#[test]
fn contexts_are_layouts_images_and_directories() {
    with_steps(|kit| {
        kit.build(
            "FROM busybox\nRUN echo layout > /x\nENV FROM=layout\n",
            &["-o", "type=oci,tar=false,dest=layout,name=l:1"],
        )
        .succeeds();
        let dockerfile = "FROM base\nRUN echo $FROM $(cat /x) > /seen\n";
        for context in ["oci-layout://layout:1", "oci-layout://layout"] {
            let files = kit.files(dockerfile, &["--build-context", &format!("base={context}")]);
            assert_eq!(files.text("seen"), "layout layout\n");
        }
        let done = kit.build(dockerfile, &["--build-context", "base=oci-layout://layout:2"]).fails();
        assert!(done.stderr.contains('2'), "{}", done.stderr);
        kit.build("FROM busybox\nRUN echo image > /x\nENV FROM=image\n", &["-t", "an-image"]).succeeds();
        let files = kit.files(dockerfile, &["--build-context", "base=docker-image://an-image"]);
        assert_eq!(files.text("seen"), "image image\n");
        // D-126: a context replaces the stage of its name.
        kit.write("files/x", "directory");
        let replaced = "FROM busybox AS made\nRUN false\nFROM busybox\nCOPY --from=made x /\n";
        assert_eq!(kit.files(replaced, &["--build-context", "made=files"]).text("x"), "directory");
        kit.build(dockerfile, &["--build-context", "base=nowhere"]).fails().says("nowhere");
        let done = kit.build(dockerfile, &["--build-context", "base=oci-layout://no/layout"]).fails();
        assert!(done.stderr.contains("no/layout"), "{}", done.stderr);
    });
}

// A machine's own root as a base: nothing of it is copied, and the image of a RUN on it has that alone.
#[test]
fn a_directory_is_a_base() {
    with_steps(|kit| {
        kit.build("FROM busybox\nRUN true\n", &["-o", "root"]).succeeds();
        let dockerfile = "FROM tools AS build\nRUN echo built > /built && rm -r /home\nFROM scratch\nCOPY --from=build /built /\n";
        let files = kit.files(dockerfile, &["--build-context", "tools=root"]);
        assert_eq!(files.paths(), ["built"]);
        assert!(!kit.path("root/built").exists() && kit.path("root/home").exists());
        kit.write("root/changed", "");
        let done = kit.build(dockerfile, &["--build-context", "tools=root"]).succeeds();
        assert_eq!(done.code, Some(0));
    });
}

// B-061, B-044
#[test]
fn dockerfiles_and_contexts_come_from_standard_input() {
    let kit = Kit::new();
    let dockerfile = b"FROM scratch\nCOPY <<file /\ntext\nfile\n";
    let done = kit.castoff_reading(&["build", "-o", "-", "-"], dockerfile).succeeds();
    assert_eq!(super::kit::Files::read(&done.stdout).text("file"), "text\n");
    kit.write("context/own", "own");
    let done = kit
        .castoff_reading(&["build", "-o", "-", "-f", "-", "context"], b"FROM scratch\nCOPY own /\n")
        .succeeds();
    assert_eq!(super::kit::Files::read(&done.stdout).paths(), ["own"]);
    kit.castoff_reading(&["build", "-f", "-", "-"], dockerfile).fails();
    kit.castoff_reading(&["build", "-"], b"").fails();
}

#[test]
fn images_are_listed_named_and_removed() {
    let kit = Kit::new();
    kit.build("FROM scratch\nLABEL a=b\n", &["-t", "one:1", "-t", "example.invalid/two"]).succeeds();
    let list = kit.castoff(&["images"]).succeeds();
    for text in ["one", "example.invalid/two", "busybox"] {
        assert!(list.text().contains(text), "{}", list.text());
    }
    kit.castoff(&["tag", "one:1", "three"]).succeeds();
    assert_eq!(kit.inspect("three")["Id"], kit.inspect("one:1")["Id"]);
    kit.castoff(&["rmi", "one:1"]).succeeds();
    kit.castoff(&["inspect", "one:1"]).fails().says("one:1");
    kit.castoff(&["rmi", "one:1"]).fails().says("one:1");
    kit.castoff(&["inspect", "three"]).succeeds();
}

// B-220: a link says under which further name a file is known, and not what is in it.
#[test]
fn a_link_in_an_archive_is_no_other_blob() {
    let kit = Kit::new();
    kit.build("FROM scratch\nLABEL a=b\n", &["-t", "made:1", "-o", "type=oci,dest=made.tar"]).succeeds();
    let files = Files::read(&std::fs::read(kit.path("made.tar")).unwrap());
    let text = |file: &FileOf| String::from_utf8_lossy(&file.content).into_owned();
    let is_config = |file: &FileOf| file.kind == '-' && text(file).contains("\"Labels\":{\"a\":\"b\"}");
    let (config, file) = files.0.iter().find(|(_, file)| is_config(file)).expect("the config has the label");
    let text = text(file).replace("\"a\":\"b\"", "\"a\":\"c\"");
    let mut out = tar::Builder::new(Vec::new());
    for (path, content) in files.0.iter().filter(|(path, file)| file.kind == '-' && *path != config) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.content.len() as u64);
        out.append_data(&mut header, path, content.content.as_slice()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    out.append_data(&mut header, "other", text.as_bytes()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    out.append_link(&mut header, config, "../../other").unwrap();
    let other = kit.another();
    other.castoff_reading(&["load"], &out.into_inner().unwrap()).fails().says("has the digest");
    other.castoff(&["inspect", "made:1"]).fails();
}

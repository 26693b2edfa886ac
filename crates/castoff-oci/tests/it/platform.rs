use castoff_oci::Platform;

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    let parsed: Option<Platform> = text.parse().ok();
    assert_eq!(parsed.map(|platform| platform.to_string()).as_deref(), expected, "{text}");
}

/// B-079, B-168: an image serves a platform of its own and any higher level of it, the nearest best.
#[test]
fn platforms_take_what_they_can_run() {
    let check = |wanted: &str, offered: &str, expected: Option<u32>| {
        let wanted: Platform = wanted.parse().expect("a platform");
        let mut image: Platform = wanted.clone();
        // As an image says it, not folded.
        let parts: Vec<&str> = offered.split('/').collect();
        parts[0].clone_into(&mut image.os);
        parts[1].clone_into(&mut image.architecture);
        image.variant = parts.get(2).map(|variant| (*variant).to_owned());
        assert_eq!(wanted.accepts(&image), expected, "{wanted} of {offered}");
    };
    check("linux/amd64", "linux/amd64", Some(0));
    check("linux/amd64", "linux/x86_64", Some(0));
    check("linux/amd64", "linux/arm64", None);
    check("linux/amd64", "windows/amd64", None);
    check("linux/amd64", "linux/amd64/v2", None);
    check("linux/amd64/v3", "linux/amd64/v2", Some(1));
    check("linux/amd64/v3", "linux/amd64", Some(3));
    check("linux/amd64/v2", "linux/amd64/v3", None);
    check("linux/arm64", "linux/arm64/v8", Some(0));
    check("linux/arm/v7", "linux/arm", Some(0));
    check("linux/arm/v7", "linux/arm/v6", Some(1));
    check("linux/arm/v7", "linux/arm/v5", Some(2));
    check("linux/arm/v6", "linux/arm/v7", None);
    check("linux/arm", "linux/arm/v8", None);
    check("linux/arm/v7", "linux/arm/7", Some(0));
    check("linux/s390x", "linux/s390x", Some(0));
    check("linux/mips64le", "linux/mips64le/hardfloat", None);
}

/// B-029, D-116: what is no platform is refused; spellings are folded to one.
#[test]
fn platforms_are_read_and_normalised() {
    check("linux/amd64", Some("linux/amd64"));
    check("linux/x86_64", Some("linux/amd64"));
    check("linux/aarch64", Some("linux/arm64"));
    check("linux/arm64/v8", Some("linux/arm64"));
    check("linux/arm/v6", Some("linux/arm/v6"));
    check("arm64", Some("linux/arm64"));
    check("windows/amd64", Some("windows/amd64"));
    for text in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/a b", "whatever", "linux/*"] {
        check(text, None);
    }
}

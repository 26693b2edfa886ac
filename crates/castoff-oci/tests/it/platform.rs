use castoff_oci::Platform;

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    let parsed: Option<Platform> = text.parse().ok();
    assert_eq!(parsed.map(|platform| platform.to_string()).as_deref(), expected, "{text}");
}

/// D-116: what is no platform is refused; spellings are folded to one.
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

//! Certificates and time zones.

use crate::kit::{Compiler, Image};

/// A static program with a text in it.
fn program(text: &str) -> Vec<u8> {
    let compiler = Compiler::new();
    let source = format!("const char text[] = \"{text}\"; void _start(void) {{ for (;;) {{}} }}");
    std::fs::read(compiler.make("static", &source, &["-static", "-nostdlib"])).unwrap()
}

const GO: &str = "crypto/tls.(*Conn).clientHandshake";

#[test]
fn a_program_that_speaks_tls_wants_certificates() {
    let image = Image::new(&["/app"]).file("/app", 0o755, program(GO));
    image.check(&[
        "certificates-missing likely: `/app` has Go's TLS client in it, and the image has no certificates of \
         authorities: TLS connections to others will fail",
    ]);
    image.file("/etc/ssl/certs/ca-certificates.crt", 0o644, "").check(&[]);
    Image::new(&["/app"]).file("/app", 0o755, program(GO)).env("SSL_CERT_FILE", "/certs.pem").check(&[]);
}

#[test]
fn embedded_certificates_are_enough() {
    let both = format!("{GO} golang.org/x/crypto/x509roots/fallback");
    Image::new(&["/app"]).file("/app", 0o755, program(&both)).check(&[]);
    Image::new(&["/app"]).file("/app", 0o755, program("nothing of the kind")).check(&[]);
}

#[test]
fn a_time_zone_is_looked_for() {
    let image = Image::new(&["/app"]).file("/app", 0o755, program("x")).env("TZ", "Europe/Zurich");
    image.check(&[
        "time-zone-missing likely: TZ is `Europe/Zurich`, and the image has no such time zone: most programs then use UTC",
    ]);
    image.file("/usr/share/zoneinfo/Europe/Zurich", 0o644, "").check(&[]);
    for zone in ["UTC", "CET-1CEST", "/own/zone"] {
        Image::new(&["/app"]).file("/app", 0o755, program("x")).env("TZ", zone).check(&[]);
    }
}

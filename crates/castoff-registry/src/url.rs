//! Addresses: where a redirect leads, what is the same server, what may be shown.

use ureq::http::Uri;

/// Parses an address of HTTP or HTTPS.
pub(crate) fn parse(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// Resolves the Location of an answer (RFC 9110 section 10.2.2). `None` when it leads out of HTTP.
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = location.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return parse(location);
    }
    let scheme = base.scheme_str()?;
    if location.starts_with("//") {
        return parse(&format!("{scheme}:{location}"));
    }
    let authority = base.authority()?;
    if location.starts_with('/') {
        return parse(&format!("{scheme}://{authority}{location}"));
    }
    let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
    parse(&format!("{scheme}://{authority}{directory}/{location}"))
}

/// Returns the host and, when it is written, the port.
pub(crate) fn host_and_port(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    uri.port_u16().map_or(host.clone(), |port| format!("{host}:{port}"))
}

/// Returns whether two addresses are of one server: what is told to one may be told to the other.
pub(crate) fn same_origin(left: &Uri, right: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        (https, host, uri.port_u16().unwrap_or(if https { 443 } else { 80 }))
    };
    origin(left) == origin(right)
}

/// Returns an address without its query, which may be a signature that lets everybody in.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("https");
    format!("{scheme}://{}{}", host_and_port(uri), uri.path())
}

/// Returns whether a host, with or without a port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns a host without port and brackets.
pub(crate) fn name_of(host: &str) -> &str {
    if host.starts_with('[') { bare(host) } else { host.rsplit_once(':').map_or(host, |(name, _)| name) }
}

/// Returns a host without brackets.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, join, parse, same_origin, shown};

    fn check_join(location: &str, expected: Option<&str>) {
        let base = parse("https://a.example:5000/v2/x/blobs/sha256:1?token=secret").unwrap();
        let joined = join(&base, location).map(|uri| uri.to_string());
        assert_eq!(joined.as_deref(), expected, "{location}");
    }

    #[test]
    fn redirects_are_resolved() {
        check_join("https://b.example/blob?signature=1", Some("https://b.example/blob?signature=1"));
        check_join("//b.example/blob", Some("https://b.example/blob"));
        check_join("/blob#part", Some("https://a.example:5000/blob"));
        check_join("other?x=http://c", Some("https://a.example:5000/v2/x/blobs/other?x=http://c"));
        check_join("file:///etc/passwd", None);
        check_join("ftp://b.example/x", None);
        check_join("http://", None);
        check_join("", Some("https://a.example:5000/v2/x/blobs/"));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let check = |left: &str, right: &str, expected: bool| {
            assert_eq!(
                same_origin(&parse(left).unwrap(), &parse(right).unwrap()),
                expected,
                "{left} {right}"
            );
        };
        check("https://A.example/x", "https://a.example:443/y", true);
        check("http://a.example/x", "http://a.example:80/y", true);
        check("https://a.example/x", "http://a.example/x", false);
        check("https://a.example/x", "https://a.example:5000/x", false);
        check("https://a.example/x", "https://b.a.example/x", false);
    }

    #[test]
    fn a_signature_is_not_shown() {
        let uri = parse("https://user:word@a.example:5000/x?signature=secret").unwrap();
        assert_eq!(shown(&uri), "https://a.example:5000/x");
    }

    /// B-089.
    #[test]
    fn loopback_has_many_names() {
        for host in ["localhost", "localhost:5000", "x.localhost", "127.0.0.1:1", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]:5000", "a.example:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

//! Which server gets which Authorization header (D-241).

use std::collections::BTreeMap;

use castoff_graph::remote::{GitSource, host, split_credentials};

use crate::SecretValue;
use crate::fetch::http::basic;

/// Returns git's configuration that sends credentials, each to its own server only. Where they are sent, no
/// redirect is followed: git would send them after it.
pub(super) fn configuration(
    secrets: &BTreeMap<String, SecretValue>,
    source: &GitSource,
) -> Vec<(String, String)> {
    let (remote, login) = split_credentials(&source.remote);
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let own = remote
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .and_then(|(scheme, _)| Some(format!("{scheme}://{}/", host(&remote)?)));
    let general = own.as_ref().and_then(|_| {
        login.as_deref().map(basic).or_else(|| header(secrets, "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"))
    });
    if let (Some(own), Some(general)) = (&own, general) {
        headers.insert(own.clone(), general);
    }
    // A token for the host comes before a header for all.
    let hosts = secrets
        .keys()
        .filter_map(|id| id.strip_prefix("GIT_AUTH_HEADER.").or_else(|| id.strip_prefix("GIT_AUTH_TOKEN.")));
    for name in hosts {
        let of_host = header(secrets, &format!("GIT_AUTH_HEADER.{name}"), &format!("GIT_AUTH_TOKEN.{name}"));
        let Some(of_host) = of_host else { continue };
        let plain = format!("http://{}/", name.to_ascii_lowercase());
        if own.as_ref() == Some(&plain) {
            headers.insert(plain, of_host.clone());
        }
        // Submodules may be at another host. Nothing is told to it in plain text.
        headers.insert(format!("https://{}/", name.to_ascii_lowercase()), of_host);
    }
    headers
        .into_iter()
        .flat_map(|(server, header)| {
            [
                (format!("http.{server}.extraHeader"), format!("Authorization: {header}")),
                (format!("http.{server}.followRedirects"), "false".to_owned()),
            ]
        })
        .collect()
}

fn header(secrets: &BTreeMap<String, SecretValue>, whole: &str, token: &str) -> Option<String> {
    let text = |id: &str| {
        let text = std::str::from_utf8(&secrets.get(id)?.0).ok()?.trim();
        // A line end would begin another header.
        (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
    };
    match (text(whole), text(token)) {
        (Some(whole), _) => Some(whole.to_owned()),
        (None, Some(token)) => Some(basic(&format!("x-access-token:{token}"))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use castoff_graph::remote::GitReference;

    use super::configuration;
    use crate::SecretValue;

    #[track_caller]
    fn check(address: &str, secrets: &[(&str, &str)], expected: &[(&str, &str)]) {
        let source = GitReference::parse(address).unwrap().into_source().unwrap();
        let secrets =
            secrets.iter().map(|(id, value)| ((*id).to_owned(), SecretValue(value.as_bytes().to_vec())));
        let found = configuration(&secrets.collect(), &source);
        let headers: Vec<(String, String)> = found
            .into_iter()
            .filter(|(name, _)| name.ends_with(".extraHeader"))
            .map(|(name, value)| (name.replace("http.", "").replace(".extraHeader", ""), value))
            .collect();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim_start_matches("Authorization: ")))
            .collect();
        assert_eq!(headers, expected, "{address}");
    }

    // D-241
    #[test]
    fn credentials_are_of_one_server_each() {
        let token = ("GIT_AUTH_TOKEN", "word\n");
        // `x-access-token:word`
        let basic = "Basic eC1hY2Nlc3MtdG9rZW46d29yZA==";
        check("https://A.example:8443/x.git", &[token], &[("https://a.example:8443/", basic)]);
        check("http://a.example/x.git", &[token], &[("http://a.example/", basic)]);
        check("ssh://git@a.example/x", &[token], &[]);
        check("https://a/x.git", &[token, ("GIT_AUTH_HEADER", "Own h")], &[("https://a/", "Own h")]);
        let of_b = ("GIT_AUTH_HEADER.b", "Other h");
        check("https://a/x.git", &[token, of_b], &[("https://a/", basic), ("https://b/", "Other h")]);
        check("https://b/x.git", &[token, of_b], &[("https://b/", "Other h")]);
        check("https://u:w@b/x.git", &[of_b], &[("https://b/", "Other h")]);
        // `u:w`
        check("https://u:w@a/x.git", &[token], &[("https://a/", "Basic dTp3")]);
        check("https://a/x.git", &[("GIT_AUTH_HEADER", "x\nCookie: y")], &[]);
    }
}

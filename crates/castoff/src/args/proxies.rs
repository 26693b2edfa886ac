//! Proxy settings of docker's `config.json` (B-008).

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    proxies: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

/// Returns build arguments, in both spellings, for the settings under `default`. A file that is not
/// understood gives none: the registry client is the one that complains about it.
pub(super) fn build_args(config: &[u8]) -> Vec<(String, String)> {
    let Ok(ConfigFile { proxies }) = serde_json::from_slice(config) else { return Vec::new() };
    let Some(settings) = proxies.get("default") else { return Vec::new() };
    let names = [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ];
    let value = |key| settings.get(key).and_then(serde_json::Value::as_str).filter(|value| !value.is_empty());
    names
        .into_iter()
        .filter_map(|(key, name)| Some((name, value(key)?)))
        .flat_map(|(name, value)| {
            [name.to_owned(), name.to_ascii_lowercase()].map(|name| (name, value.to_owned()))
        })
        .collect()
}

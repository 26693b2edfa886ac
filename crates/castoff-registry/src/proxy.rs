//! Which requests go through a proxy: the variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` as the
//! other container tools read them.

use std::net::IpAddr;

use crate::url;

/// The proxies of an environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    pub(crate) https: Setting,
    pub(crate) http: Setting,
    pub(crate) direct: Direct,
}

/// A proxy or its absence. One that cannot be used is an error only where it would be used, because most
/// commands need no network.
#[derive(Debug, Clone, Default)]
pub(crate) enum Setting {
    #[default]
    None,
    Proxy(ureq::Proxy),
    /// Why it cannot be used. The address is not told, because it may hold a password.
    Unusable(&'static str),
}

impl Setting {
    pub(crate) fn parse(text: Option<&str>) -> Setting {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Setting::None };
        match ureq::Proxy::new(text) {
            Ok(proxy)
                if matches!(proxy.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https) =>
            {
                Setting::Proxy(proxy)
            }
            Ok(_) => Setting::Unusable("proxies of the SOCKS protocol are not supported"),
            Err(_) => Setting::Unusable("its address is malformed"),
        }
    }
}

impl Proxies {
    /// Returns the proxy for a host with an optional port. This machine is always asked directly.
    ///
    /// # Errors
    /// Why the proxy cannot be used.
    pub(crate) fn of(&self, host: &str, https: bool) -> Result<Option<ureq::Proxy>, &'static str> {
        if url::is_loopback(host) || self.direct.matches(host) {
            return Ok(None);
        }
        match if https { &self.https } else { &self.http } {
            Setting::None => Ok(None),
            Setting::Proxy(proxy) => Ok(Some(proxy.clone())),
            Setting::Unusable(reason) => Err(reason),
        }
    }
}

/// The hosts of `NO_PROXY`: names with what is below them, `.name` for only what is below, addresses,
/// networks, or `*`; a name or an address may have a port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Direct(Vec<String>);

impl Direct {
    pub(crate) fn parse(text: &str) -> Direct {
        let entries = text.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        Direct(entries.filter(|entry| !entry.is_empty()).collect())
    }

    fn matches(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = url::name_of(&host);
        let address: Option<IpAddr> = name.parse().ok();
        self.0.iter().any(|entry| {
            if entry == "*" || *entry == host || entry == name {
                return true;
            }
            match address {
                Some(address) => network_has(entry, address),
                None => {
                    let domain = entry.trim_start_matches('*').trim_start_matches('.');
                    let below = |name: &str| {
                        name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                    };
                    below(name) || below(&host)
                }
            }
        })
    }
}

fn network_has(network: &str, address: IpAddr) -> bool {
    let Some((start, length)) = network.split_once('/') else { return false };
    let (Ok(start), Ok(length)) = (start.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (left, right, width) = match (start, address) {
        (IpAddr::V4(start), IpAddr::V4(address)) => {
            (u128::from(start.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(start), IpAddr::V6(address)) => (start.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    // A shift by the whole width is the network of everything.
    length <= width && (left ^ right).checked_shr(width - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::{Direct, Proxies, Setting};

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_where_it_would_be() {
        let proxies = |text| Proxies {
            https: Setting::parse(Some(text)),
            http: Setting::parse(Some("")),
            direct: Direct::parse("b.example"),
        };
        for (text, expected) in [
            ("socks5://user:word@proxy.example", "proxies of the SOCKS protocol are not supported"),
            ("socks4a://proxy.example", "proxies of the SOCKS protocol are not supported"),
            ("http://", "its address is malformed"),
            ("other://proxy.example", "its address is malformed"),
        ] {
            assert_eq!(proxies(text).of("a.example", true).unwrap_err(), expected, "{text}");
            assert!(proxies(text).of("b.example", true).unwrap().is_none());
            assert!(proxies(text).of("127.0.0.1", true).unwrap().is_none());
            assert!(proxies(text).of("a.example", false).unwrap().is_none());
        }
        for text in ["http://proxy.example:3128", "https://user:word@proxy.example", "proxy.example:3128"] {
            assert!(proxies(text).of("a.example", true).unwrap().is_some(), "{text}");
        }
    }

    fn check(no_proxy: &str, direct: &[&str], proxied: &[&str]) {
        let proxies = Proxies {
            https: Setting::parse(Some("http://proxy.example:3128")),
            http: Setting::None,
            direct: Direct::parse(no_proxy),
        };
        for host in direct {
            assert!(proxies.of(host, true).unwrap().is_none(), "`{host}` with `{no_proxy}`");
        }
        for host in proxied {
            assert!(proxies.of(host, true).unwrap().is_some(), "`{host}` with `{no_proxy}`");
            assert!(proxies.of(host, false).unwrap().is_none(), "`{host}` over HTTP");
        }
    }

    #[test]
    fn hosts_of_no_proxy_are_asked_directly() {
        check("", &["127.0.0.1:5000", "localhost"], &["a.example", "10.0.0.1"]);
        check("*", &["a.example", "10.0.0.1:80"], &[]);
        check("example", &["example", "a.example:5000", "b.a.EXAMPLE"], &["anexample", "example.org"]);
        check(".example, *.org", &["a.example", "a.org"], &["example", "org"]);
        check("a.example:5000", &["a.example:5000"], &["a.example", "a.example:443"]);
        check("10.0.0.0/8,192.168.1.1", &["10.1.2.3:5000", "192.168.1.1"], &["11.0.0.1", "192.168.1.2"]);
        check("0.0.0.0/0,fd00::/8", &["1.2.3.4", "[fd00::1]:5000"], &["[fe80::1]"]);
        check("10.0.0.0/99,x/y,/", &[], &["10.0.0.1"]);
    }
}

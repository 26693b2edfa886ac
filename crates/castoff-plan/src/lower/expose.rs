//! EXPOSE: port specifications (D-258 to D-260).

use std::net::IpAddr;

use castoff_dockerfile::Spanned;
use castoff_dockerfile::expand::{ExpandOptions, expand_words};
use castoff_dockerfile::lint::expose_proto_casing;
use serde_json::{Map, Value};

use crate::budget::ENTRY;
use crate::lint::expose_invalid_format;
use crate::place::Checked;

use super::{Here, StageLowering};

impl StageLowering<'_, '_> {
    pub(super) fn expose(&mut self, here: Here<'_>, words: &[Spanned<String>]) -> Checked<()> {
        let mut sorted: Vec<&Spanned<String>> = words.iter().collect();
        sorted.sort_by(|left, right| left.value.cmp(&right.value));
        let mut ports = Vec::new();
        for word in sorted {
            let place = here.at(word);
            for specification in self.port_words(here, word)? {
                let port = Port::parse(&specification).map_err(|message| place.error(message))?;
                if port.mapped {
                    let message = expose_invalid_format::message(&specification);
                    self.warn(here, place, &expose_invalid_format::RULE, message);
                }
                // Words without variables are checked without a plan.
                let literal = here.trigger.is_none() && expose_proto_casing::is_literal(&word.value);
                if !literal && port.protocol != port.protocol.to_lowercase() {
                    let message = expose_proto_casing::message(&specification);
                    self.warn(here, place, &expose_proto_casing::RULE, message);
                }
                let protocol = port.protocol.to_lowercase();
                let count = usize::from(port.last - port.first) + 1;
                self.plan.budget.spend(count * ENTRY, place)?;
                ports.extend((port.first..=port.last).map(|number| format!("{number}/{protocol}")));
            }
        }
        self.record(format!("EXPOSE [{}]", ports.join(" ")), None);
        let exposed = self.state.config.config.exposed_ports.get_or_insert_default();
        exposed.extend(ports.into_iter().map(|port| (port, Value::Object(Map::new()))));
        Ok(())
    }

    /// Expands a word; here alone the result is split at blanks (D-082).
    fn port_words(&mut self, here: Here<'_>, word: &Spanned<String>) -> Checked<Vec<String>> {
        let place = here.at(word);
        let variable = |name: &str| self.variable(name);
        let escape = self.plan.survey.dockerfile.escape;
        let options = ExpandOptions { escape, variable: &variable, quotes: true };
        let words = expand_words(&word.value, &options).map_err(|error| place.error(error.to_string()))?;
        self.undefined(here, place, &words.unset);
        self.plan.budget.spend(words.words.iter().map(String::len).sum(), place)?;
        Ok(words.words)
    }
}

/// One port specification: `[[ip:]host:]port[-end][/protocol]`.
struct Port {
    first: u16,
    last: u16,
    protocol: String,
    /// Whether an address or host port was given; both mean nothing in an image (D-259).
    mapped: bool,
}

impl Port {
    fn parse(text: &str) -> Result<Port, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (address, host, container) = match parts.as_slice() {
            [container] => (String::new(), "", *container),
            [host, container] => (String::new(), *host, *container),
            [address @ .., host, container] => (address.join(":"), *host, *container),
            [] => (String::new(), "", ""),
        };
        let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
        if port.is_empty() {
            return Err(format!("invalid port: no port specified: {text}<empty>"));
        }
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if !["tcp", "udp", "sctp"].contains(&protocol.to_lowercase().as_str()) {
            return Err(format!("invalid proto: {protocol}"));
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&address);
        if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {bare}"));
        }
        let (first, last) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
        if !host.is_empty() {
            let (from, to) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
            if to - from != last - first && first != last {
                return Err(format!(
                    "invalid ranges specified for container and host Ports: {port} and {host}"
                ));
            }
        }
        let mapped = !address.is_empty() || !host.is_empty();
        Ok(Port { first, last, protocol: protocol.to_owned(), mapped })
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u16>().ok() } else { None }
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

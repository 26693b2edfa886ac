//! Addresses as text: what may be shown of one, and what its file is called.

/// What stands for a name or password.
const MASK: &str = "xxxxx";

/// Returns a text in which the credentials of every address are masked, as BuildKit masks them.
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let start = at + 3;
        shown.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest
            .find(|next: char| matches!(next, '/' | '?' | '#' | '"' | '\'') || next.is_whitespace())
            .unwrap_or(rest.len());
        if let Some(login) = rest[..end].rfind('@') {
            let masked = if rest[..login].contains(':') { format!("{MASK}:{MASK}") } else { MASK.to_owned() };
            // `ssh://git@host` names an account and no secret.
            let account = shown.ends_with("ssh://") && !rest[..login].contains(':');
            shown.push_str(if account { &rest[..login] } else { &masked });
            rest = &rest[login..];
        }
    }
    shown.push_str(rest);
    shown
}

/// Returns an address without its credentials, and the credentials, `name:password` and decoded. The name
/// alone is the account at an ssh server, and stays.
pub fn split_credentials(address: &str) -> (String, Option<String>) {
    let plain = || (address.to_owned(), None);
    let Some((scheme, rest)) = address.split_once("://") else { return plain() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((login, _)) = rest[..end].rsplit_once('@').filter(|_| scheme != "ssh") else { return plain() };
    let text = |part: &str| decoded(part, false).unwrap_or_else(|| part.to_owned());
    let (name, password) = login.split_once(':').unwrap_or((login, ""));
    let without = format!("{scheme}://{}", &rest[login.len() + 1..]);
    (without, Some(format!("{}:{}", text(name), text(password))))
}

/// Returns the host of an address, with its port if that is written, in lower case.
pub fn host(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Returns the last component of an address's path, percent-decoded; `None` when there is none that a file
/// can have (D-236).
pub fn file_name(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = decoded(&rest[rest[..end].find('/')?..end], false)?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let usable = !matches!(name, "" | "." | "..") && !name.contains('\0') && name.len() <= 255;
    usable.then(|| name.to_owned())
}

/// Decodes `%XX`, and `+` to a blank in a query. `None` when it is malformed or no text.
pub(super) fn decoded(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{redacted, split_credentials};

    #[test]
    fn credentials_are_taken_out_of_an_address() {
        let check = |address: &str, expected: &str, login: Option<&str>| {
            let (plain, found) = split_credentials(address);
            assert_eq!((plain.as_str(), found.as_deref()), (expected, login), "{address}");
        };
        check("https://a.example/x@y", "https://a.example/x@y", None);
        check("https://u:w@a.example:80/x", "https://a.example:80/x", Some("u:w"));
        check("https://token@a.example?x", "https://a.example?x", Some("token:"));
        check("https://u:a%40%3A@a.example", "https://a.example", Some("u:a@:"));
        check("https://u:%zz@a.example", "https://a.example", Some("u:%zz"));
        check("ssh://git@a.example/x", "ssh://git@a.example/x", None);
        check("git@a.example:x", "git@a.example:x", None);
    }

    // B-067, B-221
    #[test]
    fn credentials_are_masked() {
        let check = |text: &str, expected: &str| assert_eq!(redacted(text), expected);
        check("https://user:word@a.example/x.git", "https://xxxxx:xxxxx@a.example/x.git");
        check("https://token@a.example/x", "https://xxxxx@a.example/x");
        check("https://us@er:w@a.example?x=1", "https://xxxxx:xxxxx@a.example?x=1");
        check("ADD https://u:p@a/x http://t@b/y /d", "ADD https://xxxxx:xxxxx@a/x http://xxxxx@b/y /d");
        check("ADD [\"https://u:p@a\", \"/d\"]", "ADD [\"https://xxxxx:xxxxx@a\", \"/d\"]");
        check("ssh://git@a.example/x", "ssh://git@a.example/x");
        check("ssh://git:word@a.example/x", "ssh://xxxxx:xxxxx@a.example/x");
        for same in
            ["https://a.example/x@y:z", "git@a.example:x", "COPY a@b /c", "https://a?x=u@v", "://", ""]
        {
            check(same, same);
        }
    }
}

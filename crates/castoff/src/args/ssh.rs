//! `--ssh`: which ssh agents are forwarded to the steps (B-140). The keys themselves are never here.

use std::path::PathBuf;

use super::Environment;

/// An ssh agent that the caller offers to the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSpec {
    /// The name under which steps ask for it.
    pub id: String,
    /// A socket, or one or more private keys; at least one.
    pub paths: Vec<PathBuf>,
}

/// Why a `--ssh` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// No id.
    #[error("the id is empty: expected default|ID[=SOCKET|KEY[,KEY...]]")]
    NoId,
    /// A path is empty.
    #[error("a path is empty: expected {0}=SOCKET|KEY[,KEY...]")]
    NoPath(String),
    /// There is no agent to forward.
    #[error("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")]
    NoAgent,
    /// The id was given before.
    #[error("the ssh agent `{0}` is given twice")]
    Twice(String),
}

impl SshSpec {
    /// Reads one value of `--ssh`. Without paths, SSH_AUTH_SOCK says where the agent is.
    pub fn parse(text: &str, environment: &Environment) -> Result<SshSpec, SshError> {
        let (id, paths) = match text.split_once('=') {
            Some((id, paths)) => (id, paths.split(',').map(PathBuf::from).collect()),
            None => {
                let socket = environment.raw("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
                (text, vec![PathBuf::from(socket.ok_or(SshError::NoAgent)?)])
            }
        };
        if id.is_empty() {
            return Err(SshError::NoId);
        }
        if paths.iter().any(|path: &PathBuf| path.as_os_str().is_empty()) {
            return Err(SshError::NoPath(id.to_owned()));
        }
        Ok(SshSpec { id: id.to_owned(), paths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-140
    #[test]
    fn agents_are_sockets_or_keys() {
        let environment = Environment::of(&[("SSH_AUTH_SOCK", "/run/agent")]);
        let check = |text: &str, expected: Result<(&str, &[&str]), SshError>| {
            let found = SshSpec::parse(text, &environment);
            let expected = expected.map(|(id, paths)| SshSpec {
                id: id.to_owned(),
                paths: paths.iter().map(PathBuf::from).collect(),
            });
            assert_eq!(found, expected, "{text}");
        };
        check("default", Ok(("default", &["/run/agent"])));
        check("github", Ok(("github", &["/run/agent"])));
        check("default=/s", Ok(("default", &["/s"])));
        check("k=a,b", Ok(("k", &["a", "b"])));
        check("k=a=b", Ok(("k", &["a=b"])));
        check("=a", Err(SshError::NoId));
        check("", Err(SshError::NoId));
        check("k=", Err(SshError::NoPath("k".to_owned())));
        check("k=a,,b", Err(SshError::NoPath("k".to_owned())));
        for variables in [&[][..], &[("SSH_AUTH_SOCK", "")]] {
            let error = SshSpec::parse("default", &Environment::of(variables)).unwrap_err();
            assert_eq!(error, SshError::NoAgent);
        }
    }
}

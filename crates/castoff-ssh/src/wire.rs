//! Messages of the agent protocol (draft-ietf-sshm-ssh-agent):
//!
//! ```text
//! message   u32 length, then as many bytes: one of type, then the content
//! string    u32 length, then as many bytes
//! ```

/// No message is longer, as in OpenSSH (`AGENT_MAX_LEN`).
pub(crate) const LONGEST: usize = 256 << 10;

/// What a client asks, by the numbers of section 5.1.
pub(crate) const LIST: u8 = 11;
pub(crate) const SIGN: u8 = 13;
pub(crate) const EXTENSION: u8 = 27;

/// What an agent answers.
pub(crate) const FAILURE: u8 = 5;
pub(crate) const KEYS: u8 = 12;
pub(crate) const SIGNATURE: u8 = 14;

/// Extensions that change nothing: what a connection is bound to, and which extensions there are.
const HARMLESS: [&[u8]; 2] = [b"session-bind@openssh.com", b"query"];

/// Returns whether a request, without its length, only looks and signs (D-174).
pub(crate) fn is_read_only(request: &[u8]) -> bool {
    match request.split_first() {
        Some((&LIST | &SIGN, _)) => true,
        Some((&EXTENSION, mut rest)) => string(&mut rest).is_some_and(|name| HARMLESS.contains(&name)),
        _ => false,
    }
}

/// Takes a string off the front.
pub(crate) fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Takes a number off the front.
pub(crate) fn number(rest: &mut &[u8]) -> Option<u32> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u32::from_be_bytes(*taken))
}

/// Appends a string.
pub(crate) fn put_string(message: &mut Vec<u8>, text: &[u8]) {
    put_number(message, text.len());
    message.extend_from_slice(text);
}

/// Appends a number, which is a count of what is in memory here.
pub(crate) fn put_number(message: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("keys and signatures are far below 4 GiB");
    message.extend_from_slice(&count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    // D-174
    #[test]
    fn only_what_looks_and_signs_is_read_only() {
        let extension = |name: &[u8]| {
            let mut request = vec![EXTENSION];
            put_string(&mut request, name);
            request
        };
        let allowed: [&[u8]; 4] =
            [&[LIST], &[SIGN, 0], &extension(b"query"), &extension(b"session-bind@openssh.com")];
        for request in allowed {
            assert!(is_read_only(request), "{request:?}");
        }
        // Every other number of the protocol: adding (17, 25), removing (18, 19), smartcards (20, 21, 26),
        // locking (22, 23), and what version 1 had (1 to 9).
        for kind in (0..=255).filter(|kind| ![LIST, SIGN, EXTENSION].contains(kind)) {
            assert!(!is_read_only(&[kind]), "{kind}");
        }
        let refused: [&[u8]; 5] = [
            &[],
            &[EXTENSION],
            &[EXTENSION, 0, 0, 0, 9, b'q'],
            &[EXTENSION, 255, 255, 255, 255],
            &extension(b"restrict-destination-v00@openssh.com"),
        ];
        for request in refused {
            assert!(!is_read_only(request), "{request:?}");
        }
    }

    #[test]
    fn strings_end_where_their_message_ends() {
        let taken = |mut bytes: &[u8]| string(&mut bytes).map(<[u8]>::to_vec);
        assert_eq!(taken(&[0, 0, 0, 2, b'a', b'b', b'c']), Some(b"ab".to_vec()));
        assert_eq!(taken(&[0, 0, 0, 0]), Some(Vec::new()));
        assert_eq!(taken(&[0, 0, 0, 3, b'a', b'b']), None);
        assert_eq!(taken(&[0, 0, 0]), None);
    }
}

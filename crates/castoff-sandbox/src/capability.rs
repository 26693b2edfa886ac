//! Capabilities: those that Docker gives a container by default (D-145).

use std::io;

use crate::sys;

/// The last capability that exists up to Linux 6.18: CAP_CHECKPOINT_RESTORE.
const LAST: u32 = 40;

/// Numbers of linux/capability.h that a default container has.
const DEFAULT: [u32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

/// Returns the set of a default container: 0xa80425fb.
pub(crate) fn default_set() -> u64 {
    DEFAULT.iter().fold(0, |set, capability| set | 1 << capability)
}

/// Drops everything outside `set` from the bounding set, so that no exec brings it back.
pub(crate) fn bound(set: u64) -> io::Result<()> {
    for capability in (0..=LAST).filter(|capability| set & (1 << capability) == 0) {
        match sys::drop_bounding(capability) {
            // An older kernel does not know the newest ones.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_set_is_dockers() {
        assert_eq!(super::default_set(), 0xa804_25fb);
    }
}

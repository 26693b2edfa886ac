//! References, platforms and digests parse or fail, and say what they were parsed from.

#![no_main]

use castoff_oci::{Digest, Platform, Reference};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("a printed reference parses");
        assert_eq!(again, reference);
        let familiar: Reference = reference.familiar().parse().expect("a familiar name parses");
        assert_eq!(familiar, reference);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let again: Platform = platform.to_string().parse().expect("a printed platform parses");
        assert_eq!(again, platform);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});

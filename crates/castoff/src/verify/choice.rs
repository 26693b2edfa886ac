//! Which steps an audit does again: a part of them, by chance, and the same for the same number.

use std::collections::BTreeSet;

use castoff_oci::{Digest, Hasher};

/// A part of something, in percent: more than nothing, and at most all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

/// A text is not a part in percent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a part in percent: expected more than 0% and at most 100%")]
pub struct ShareError(String);

impl Share {
    /// Reads `10%`, or `10`.
    ///
    /// # Errors
    /// When it is not a number, or out of bounds.
    pub fn parse(text: &str) -> Result<Share, ShareError> {
        let number = text.strip_suffix('%').unwrap_or(text);
        match number.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Share(percent)),
            _ => Err(ShareError(text.to_owned())),
        }
    }

    /// Returns how many that is of a number, at least one of some.
    fn of(self, count: usize) -> usize {
        ((count as f64 * self.0 / 100.0).ceil() as usize).min(count)
    }
}

/// Chooses a part of some keys. Whatever else is to choose from, of two keys the same one comes first for the same seed.
pub fn choose(keys: &BTreeSet<Digest>, share: Share, seed: u64) -> BTreeSet<Digest> {
    let mut ordered: Vec<(Digest, Digest)> = keys
        .iter()
        .map(|key| {
            let mut hasher = Hasher::new();
            hasher.field(&seed.to_le_bytes());
            hasher.field(key.hex().as_bytes());
            (hasher.finish(), *key)
        })
        .collect();
    ordered.sort();
    ordered.into_iter().take(share.of(keys.len())).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_something() {
        for text in ["10%", "10", "0.5%", "100%"] {
            assert!(Share::parse(text).is_ok(), "{text}");
        }
        for text in ["", "%", "0%", "-1%", "101%", "nan", "inf", "ten", "1%%"] {
            assert_eq!(Share::parse(text), Err(ShareError(text.to_owned())));
        }
        let of = |text: &str, count| Share::parse(text).unwrap().of(count);
        assert_eq!([of("10%", 30), of("10%", 31), of("1%", 3), of("100%", 7), of("50%", 0)], [3, 4, 1, 7, 0]);
    }

    #[test]
    fn a_seed_chooses_the_same_and_another_seed_something_else() {
        let keys: BTreeSet<Digest> = (0..100_u32).map(|number| Digest::of(&number.to_le_bytes())).collect();
        let share = Share::parse("10%").unwrap();
        let chosen = choose(&keys, share, 7);
        assert_eq!(chosen.len(), 10);
        assert_eq!(choose(&keys, share, 7), chosen);
        assert_ne!(choose(&keys, share, 8), chosen);
        // Of more the same are among the first.
        assert!(choose(&keys, Share::parse("20%").unwrap(), 7).is_superset(&chosen));
    }
}

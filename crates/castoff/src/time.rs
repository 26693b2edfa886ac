//! Instants as documents want them.

/// Returns an instant of RFC 3339 in UTC without fractions, as SPDX has it; what is none is 1970.
pub(crate) fn whole_seconds(text: Option<&str>) -> String {
    let parsed = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let seconds = parsed.map_or(0, jiff::Timestamp::as_second);
    jiff::Timestamp::from_second(seconds).expect("it was an instant before").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_offsets_go() {
        assert_eq!(whole_seconds(Some("2026-01-02T03:04:05.678+01:00")), "2026-01-02T02:04:05Z");
        assert_eq!(whole_seconds(Some("yesterday")), "1970-01-01T00:00:00Z");
        assert_eq!(whole_seconds(None), "1970-01-01T00:00:00Z");
    }
}

//! The small grammars that flag values share: comma-separated fields, `key=value`, booleans and sizes.

/// Why a value does not follow one of the grammars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A quote that does not enclose a whole field.
    #[error("a quote must enclose a whole field: `{0}`")]
    Quote(String),
    /// A field without `=`.
    #[error("`{0}` must be a key=value pair")]
    NotAPair(String),
    /// A key that means nothing here.
    #[error("unexpected key `{key}`{}", suggestion(.near))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// A known key that looks like it.
        near: Option<&'static str>,
    },
    /// A key that must be there.
    #[error("`{0}` is required")]
    Missing(&'static str),
    /// Not a boolean.
    #[error("`{0}` is not a boolean: expected true or false")]
    Boolean(String),
    /// Not a size.
    #[error("`{0}` is not a size: expected a number and one of the units b, k, m, g")]
    Size(String),
    /// Not a number of the range that is allowed.
    #[error("`{0}` is not a number that is allowed here")]
    Number(String),
}

fn suggestion(near: &Option<&'static str>) -> String {
    near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// Splits a line of comma-separated fields. A field may be enclosed in double quotes; a doubled quote
/// inside stands for one.
pub fn split(text: &str) -> Result<Vec<String>, FieldError> {
    let quote = || FieldError::Quote(text.to_owned());
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted).ok_or_else(quote)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(quote());
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(quote()),
        }
    }
}

/// Takes the text up to the closing quote; the opening one is already gone.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, rest)),
        }
    }
}

/// Splits `key=value`; keys are compared in lower case (B-092).
pub fn pair(field: &str) -> Result<(String, &str), FieldError> {
    match field.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_ascii_lowercase(), value)),
        _ => Err(FieldError::NotAPair(field.to_owned())),
    }
}

/// Says that a key is unknown, and which known one was perhaps meant.
pub fn unknown_key(key: &str, known: &[&'static str]) -> FieldError {
    FieldError::UnknownKey { key: key.to_owned(), near: nearest(key, known) }
}

/// Returns the word that takes the fewest edits to become, when those are few.
pub fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let limit = (word.chars().count() / 3).max(1);
    let ranked = known.iter().map(|candidate| (edits(word, candidate), *candidate));
    ranked.filter(|(edits, _)| *edits <= limit).min_by_key(|(edits, _)| *edits).map(|(_, near)| near)
}

/// Counts insertions, deletions and replacements between two words. The same letters in another order
/// count as one.
fn edits(left: &str, right: &str) -> usize {
    let sorted = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    if left != right && sorted(left) == sorted(right) {
        return 1;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// Reads the spellings of booleans that Go's flag packages accept.
pub fn boolean(text: &str) -> Result<bool, FieldError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(FieldError::Boolean(text.to_owned())),
    }
}

/// Reads a size in bytes: a number, perhaps with a fraction, and a unit of powers of 1024. `k`, `kb` and
/// `kib` are equal, in any case.
pub fn size(text: &str) -> Result<u64, FieldError> {
    let error = || FieldError::Size(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(error()),
    };
    match number.split_once('.') {
        None => {
            let number: u64 = number.parse().map_err(|_| error())?;
            number.checked_mul(1 << shift).ok_or_else(error)
        }
        Some(_) => {
            let bytes = number.parse::<f64>().map_err(|_| error())? * (1_u64 << shift) as f64;
            // Beyond 2^53 a fraction of a byte is not what anybody means.
            if bytes < 9_007_199_254_740_992.0 { Ok(bytes as u64) } else { Err(error()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_split_at_commas_outside_quotes() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let fields = split(text).ok();
            let fields = fields.as_ref().map(|fields| fields.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(fields.as_deref(), expected, "{text}");
        };
        check("type=oci,dest=a.tar", Some(&["type=oci", "dest=a.tar"]));
        check(r#"type=image,"name=a,b""#, Some(&["type=image", "name=a,b"]));
        check(r#""say ""hi""",x"#, Some(&[r#"say "hi""#, "x"]));
        check("", Some(&[""]));
        check("a,", Some(&["a", ""]));
        check(r#"na"me"#, None);
        check(r#""open"#, None);
        check(r#""a"b"#, None);
    }

    #[test]
    fn sizes_take_units_of_1024() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size(text).ok(), expected, "{text}");
        check("64", Some(64));
        check("64b", Some(64));
        check("2k", Some(2048));
        check("1.5m", Some(1_572_864));
        check("2G", Some(2 << 30));
        check("128MB", Some(128 << 20));
        check("-1", None);
        check("1x", None);
        check("", None);
        check("g", None);
        check("1.2.3", None);
        check("18446744073709551615g", None);
        check("99999999999999999999999.0g", None);
    }

    #[test]
    fn near_words_are_suggested() {
        assert_eq!(nearest("desst", &["type", "dest"]), Some("dest"));
        assert_eq!(nearest("src", &["type", "dest"]), None);
    }
}

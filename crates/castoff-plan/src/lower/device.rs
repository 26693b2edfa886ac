//! `RUN --device` (D-178).

use castoff_dockerfile::Spanned;
use castoff_graph::DeviceRequest;

use crate::place::Checked;

use super::{Here, StageLowering};

impl StageLowering<'_, '_> {
    /// Reads `NAME[,required]` or `name=NAME,required[=bool]`. A name may have an equals sign in it.
    pub(super) fn device(&self, here: Here<'_>, word: &Spanned<String>) -> Checked<DeviceRequest> {
        let place = here.at(word);
        let mut name = None;
        let mut required = false;
        for field in word.value.split(',') {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("name", Some(value)) if name.is_none() => name = Some(value),
                ("required", None | Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => required = true,
                ("required", Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => required = false,
                ("required", Some(value)) => {
                    return Err(place.error(format!("invalid value for required: {value}")));
                }
                _ if name.is_none() => name = Some(field),
                _ => return Err(place.error(format!("unexpected key '{key}' in '{field}'"))),
            }
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(DeviceRequest { name: name.to_owned(), required }),
            None => Err(place.error("a device needs a name")),
        }
    }
}

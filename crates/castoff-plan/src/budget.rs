//! How large a plan may become. Text of a file can be repeated in every step (an environment, a name), so a
//! plan can be as large as the square of its file; this is where that ends.

use crate::place::{Checked, Place};

/// Most bytes of text in the steps and the history of one platform, counted roughly. Files that people
/// write come to less than a hundredth of it.
const MOST: usize = 128 << 20;

/// What an entry of a list costs beside its text.
pub(crate) const ENTRY: usize = 64;

/// What is spent so far.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    spent: usize,
}

impl Budget {
    /// Whether there is no more.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent > MOST
    }

    /// Counts text that goes into the plan.
    pub(crate) fn spend(&mut self, bytes: usize, place: Place) -> Checked<()> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MOST {
            let hint = "variables or triggers that are repeated in many steps make it large";
            return Err(place.error_with_hint("the plan becomes too large here", Some(hint.to_owned())));
        }
        Ok(())
    }
}

//! Colours and the size of the terminal.

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    fn default() -> TerminalSize {
        TerminalSize { columns: 80, rows: 24 }
    }
}

/// Escape sequences of the colours, one for each meaning (B-156).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colors {
    /// Steps that are done.
    pub run: String,
    /// Warnings.
    pub warning: String,
    /// Errors.
    pub error: String,
    /// Steps that were stopped.
    pub cancel: String,
}

/// Ends a colour.
pub(super) const RESET: &str = "\x1b[0m";

impl Default for Colors {
    fn default() -> Colors {
        let color = |code: &str| format!("\x1b[{code}m");
        Colors { run: color("34"), warning: color("33"), error: color("31"), cancel: color("33") }
    }
}

impl Colors {
    /// Reads BUILDKIT_COLORS, such as `run=green:warning=yellow:error=red:cancel=255,165,0`. What is not
    /// understood keeps its default.
    pub fn parse(text: &str) -> Colors {
        let mut colors = Colors::default();
        for (name, color) in text.split(':').filter_map(|part| part.split_once('=')) {
            let Some(sequence) = sequence(color.trim()) else { continue };
            match name.trim() {
                "run" => colors.run = sequence,
                "warning" => colors.warning = sequence,
                "error" => colors.error = sequence,
                "cancel" => colors.cancel = sequence,
                _ => {}
            }
        }
        colors
    }

    /// Returns a text in the colour of warnings.
    pub fn paint_warning(&self, text: &str) -> String {
        format!("{}{text}{RESET}", self.warning)
    }
}

fn sequence(color: &str) -> Option<String> {
    let names = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    let lower = color.to_ascii_lowercase();
    let bare = lower.strip_prefix("light-").or(lower.strip_prefix("light")).unwrap_or(&lower);
    if let Some(at) = names.iter().position(|name| *name == bare) {
        let base = if bare.len() < lower.len() { 90 } else { 30 };
        return Some(format!("\x1b[{}m", base + at));
    }
    let parts: Vec<u8> = color.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().ok()?;
    let [red, green, blue] = parts[..] else { return None };
    Some(format!("\x1b[38;2;{red};{green};{blue}m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-156
    #[test]
    fn colours_are_names_or_numbers() {
        let colors = Colors::parse("run=green:cancel=255,165,0:error=300,1,1:nothing=red:junk");
        assert_eq!(colors.run, "\x1b[32m");
        assert_eq!(colors.cancel, "\x1b[38;2;255;165;0m");
        assert_eq!(colors.error, Colors::default().error);
        assert_eq!(Colors::parse(""), Colors::default());
    }
}

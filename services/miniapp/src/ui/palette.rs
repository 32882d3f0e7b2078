//! Colors by meaning.

use owo_colors::{OwoColorize as _, Style};

/// The meaning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Busy,
    Dim,
    Strong,
}

/// Colors, or none.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    on: bool,
}

impl Palette {
    pub const fn new(on: bool) -> Self {
        Self { on }
    }

    pub const fn is_on(self) -> bool {
        self.on
    }

    /// Colors `text` by its meaning.
    pub fn paint(self, tone: Tone, text: impl std::fmt::Display) -> String {
        if !self.on {
            return text.to_string();
        }
        let style = match tone {
            Tone::Good => Style::new().green(),
            Tone::Warn => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
            Tone::Busy => Style::new().cyan(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        text.style(style).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_is_plain_without_colors() {
        assert_eq!(Palette::new(false).paint(Tone::Good, "ok"), "ok");
        assert_eq!(Palette::new(true).paint(Tone::Good, "ok"), "\u{1b}[32mok\u{1b}[0m");
    }
}

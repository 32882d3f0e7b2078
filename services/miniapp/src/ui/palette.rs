//! Colours by meaning.

use owo_colors::{OwoColorize as _, Style};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It needs a look.
    Warn,
    /// It went wrong.
    Bad,
    /// It is under way.
    Busy,
    /// It matters less than the rest.
    Dim,
    /// It matters more.
    Strong,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// With or without colours.
    pub const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Whether there are colours.
    pub const fn is_on(self) -> bool {
        self.on
    }

    /// `text` in the colour of its meaning.
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
    fn colours_can_be_off() {
        assert_eq!(Palette::new(false).paint(Tone::Good, "ok"), "ok");
        assert_eq!(Palette::new(true).paint(Tone::Good, "ok"), "\u{1b}[32mok\u{1b}[0m");
    }
}

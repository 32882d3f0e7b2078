//! Colors by meaning.

use owo_colors::{OwoColorize as _, Style};

use super::Text;

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
    pub fn paint(self, tone: Tone, text: impl Into<Text>) -> Text {
        let text = text.into();
        if !self.on {
            return text;
        }
        let style = match tone {
            Tone::Good => Style::new().green(),
            Tone::Warn => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
            Tone::Busy => Style::new().cyan(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        Text::trusted(text.as_str().style(style).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_is_plain_without_colors() {
        let painted = |on| Palette::new(on).paint(Tone::Good, "ok");
        assert_eq!(painted(false).as_str(), "ok");
        assert_eq!(painted(true).as_str(), "\u{1b}[32mok\u{1b}[0m");
    }
}

//! [`Text`]: what may be printed to a terminal.

use std::fmt::Display;

use miniapp_runtime::terminal::escape;

/// Text for a terminal, with our own colors and line breaks, but without characters from
/// outside that control the terminal.
///
/// Everything that is printed becomes a `Text` first, which escapes it. It deliberately does
/// not implement `Display`: formatted again, its colors would be escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl<T: Display> From<T> for Text {
    fn from(value: T) -> Self {
        Self(escape(&value.to_string()).into_owned())
    }
}

/// Concatenates parts, each of which is text or converted to it.
macro_rules! text {
    ($($part:expr),+ $(,)?) => {{
        let mut text = $crate::ui::Text::default();
        $(text.push($part);)+
        text
    }};
}
pub(crate) use text;

impl Text {
    /// Takes text that contains only our own control characters.
    pub(super) fn trusted(text: String) -> Self {
        Self(text)
    }

    /// Converts a document of several lines.
    pub fn from_lines(document: &str) -> Self {
        Self::joined(document.lines().map(Self::from))
    }

    pub fn push(&mut self, part: impl Into<Self>) {
        self.0 += &part.into().0;
    }

    /// Appends a line, after a line break if there is text before it.
    pub fn push_line(&mut self, line: impl Into<Self>) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.push(line);
    }

    /// Puts each text on a line of its own.
    pub fn joined(lines: impl IntoIterator<Item = Self>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|line| line.0).collect();
        Self(lines.join("\n"))
    }

    /// Indents every line.
    #[must_use]
    pub fn indented(&self) -> Self {
        let lines = self.0.lines().map(|line| format!("  {line}"));
        Self(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Truncates the text to `columns`, including an ellipsis.
    #[must_use]
    pub fn truncated(&self, columns: usize) -> Self {
        Self(console::truncate_str(&self.0, columns, "…").into_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Palette, Tone};

    #[test]
    fn text_escapes_what_it_is_made_of() {
        let red = Palette::new(true).paint(Tone::Bad, "\u{1b}[2J");
        let text = text!["a\nb ", red, format_args!(" {}", 'c')];
        assert_eq!(text.as_str(), "a\\nb \u{1b}[31m\\u{1b}[2J\u{1b}[0m c");
    }

    #[test]
    fn lines_are_kept_and_indented() {
        let text = Text::from_lines("one\r\ntwo\u{7}\n");
        assert_eq!(text.indented().as_str(), "  one\n  two\\u{7}");
    }

    #[test]
    fn truncated_measures_columns() {
        let colored = Palette::new(true).paint(Tone::Bad, "日本語");
        assert_eq!(console::strip_ansi_codes(colored.truncated(5).as_str()), "日本…");
        assert_eq!(Text::from("abc").truncated(3).as_str(), "abc");
    }
}

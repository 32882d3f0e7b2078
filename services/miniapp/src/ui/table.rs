//! Tables without borders, readable by people and `cut`.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement};

use super::{Palette, Text, Tone};

/// Spaces between two columns.
const GAP: u16 = 2;
/// Minimum width for wrapping the last column.
const MIN_LAST_COLUMN: usize = 20;

/// A table with a header.
pub struct Table {
    inner: comfy_table::Table,
    palette: Palette,
    columns: usize,
    width: Option<usize>,
    /// Whether every row is one line: the last column is truncated instead of wrapped.
    has_single_lines: bool,
}

impl Table {
    pub fn new(palette: Palette, header: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        // Its own colors depend on the environment only.
        inner.force_no_tty();
        let width = console::Term::stdout().size_checked().map(|(_, width)| width.into());
        let columns = header.len();
        let mut table = Self { inner, palette, columns, width, has_single_lines: false };
        let header: Vec<Cell> = header.iter().map(|name| table.cell(name, Tone::Dim)).collect();
        table.inner.set_header(header);
        table
    }

    /// Makes every row one line: on a terminal, it is truncated.
    #[must_use]
    pub fn with_single_lines(self) -> Self {
        Self { has_single_lines: true, ..self }
    }

    #[cfg(test)]
    pub fn with_width(self, columns: usize) -> Self {
        Self { width: Some(columns), ..self }
    }

    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Tone)>) {
        let cells = cells.into_iter().map(|(text, tone)| self.cell(text, tone));
        let cells: Vec<Cell> = cells.collect();
        self.inner.add_row(cells);
    }

    fn cell(&self, text: &str, tone: Tone) -> Cell {
        let text = match tone {
            // Many bold cells would highlight nothing.
            Tone::Strong => Text::from(text),
            tone => self.palette.paint(tone, text),
        };
        Cell::new(text.as_str())
    }

    /// Returns the lines of the table for a terminal.
    pub fn to_text(&self) -> Text {
        let mut table = self.inner.clone();
        let mut others = table.column_max_content_widths();
        others.pop();
        let others: usize = others.into_iter().map(|width| usize::from(width + GAP)).sum();
        let wraps_others = self.width.is_some_and(|width| others + MIN_LAST_COLUMN > width);
        match self.width.and_then(|width| u16::try_from(width).ok()) {
            Some(width) if !self.has_single_lines => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            _ => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        for index in 0..self.columns.saturating_sub(1) {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, GAP));
                // Ids and numbers stay in one piece where there is room for it.
                if !wraps_others {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        if let Some(last) = table.column_mut(self.columns.saturating_sub(1)) {
            last.set_padding((0, 0));
        }
        let text = table.to_string();
        let lines = text.lines().map(|line| {
            let line = Text::trusted(trim_padding(line));
            match self.width {
                Some(width) if self.has_single_lines => line.truncated(width),
                _ => line,
            }
        });
        Text::joined(lines)
    }
}

/// Removes trailing spaces, also before a final reset of the style. On a terminal as wide as
/// the table, they would cause an empty line.
fn trim_padding(line: &str) -> String {
    const PLAIN: &str = "\u{1b}[0m";
    match line.trim_end().strip_suffix(PLAIN) {
        Some(styled) => format!("{}{PLAIN}", styled.trim_end()),
        None => line.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>, colors: bool) -> Table {
        let mut table = Table::new(Palette::new(colors), &["KIND", "DESCRIPTION"]);
        table.width = width;
        table.row([("echo", Tone::Good), ("Gives the data back as the result.", Tone::Strong)]);
        table
    }

    fn render(width: Option<usize>) -> String {
        table(width, false).to_text().as_str().to_owned()
    }

    #[test]
    fn last_column_wraps_to_the_width() {
        let whole = "KIND  DESCRIPTION\necho  Gives the data back as the result.";
        assert_eq!(render(None), whole);
        assert_eq!(render(Some(80)), whole);
        let wrapped = "KIND  DESCRIPTION\necho  Gives the data back as\n      the result.";
        assert_eq!(render(Some(30)), wrapped);
        let narrow = render(Some(20));
        assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
    }

    #[test]
    fn single_lines_are_truncated_to_the_width() {
        for colors in [false, true] {
            let text = table(Some(30), colors).with_single_lines().to_text();
            let plain = console::strip_ansi_codes(text.as_str()).into_owned();
            assert_eq!(plain, "KIND  DESCRIPTION\necho  Gives the data back as …");
            assert_eq!(text.as_str().contains("\u{1b}[32mecho\u{1b}[0m"), colors, "{text:?}");
        }
    }

    #[test]
    fn cells_are_escaped_before_they_are_measured() {
        let mut table = Table::new(Palette::new(false), &["A", "B"]);
        table.row([("x\n\u{1b}[2J", Tone::Strong), ("\u{202e}b", Tone::Dim)]);
        table.row([("y", Tone::Strong), ("b", Tone::Dim)]);
        let expected = "A             B\nx\\n\\u{1b}[2J  \\u{202e}b\ny             b";
        assert_eq!(table.to_text().as_str(), expected);
    }

    #[test]
    fn trim_padding_removes_trailing_spaces() {
        assert_eq!(trim_padding("a  "), "a");
        assert_eq!(trim_padding("\u{1b}[2ma   \u{1b}[0m "), "\u{1b}[2ma\u{1b}[0m");
    }
}

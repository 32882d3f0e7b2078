//! Tables without borders, readable by people and `cut`.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement};

use super::{Palette, Tone};

/// Spaces between two columns.
const GAP: u16 = 2;
/// Minimum width for wrapping the last column.
const MIN_LAST_COLUMN: usize = 20;

/// A table with a header.
pub struct Table {
    inner: comfy_table::Table,
    columns: usize,
    width: Option<usize>,
}

impl Table {
    pub fn new(palette: Palette, header: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        if palette.is_on() {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        let width = console::Term::stdout().size_checked().map(|(_, width)| width.into());
        let mut table = Self { inner, columns: header.len(), width };
        let header = header.iter().map(|name| cell(name, Tone::Dim)).collect::<Vec<_>>();
        table.inner.set_header(header);
        table
    }

    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Tone)>) {
        let cells: Vec<Cell> = cells.into_iter().map(|(text, tone)| cell(text, tone)).collect();
        self.inner.add_row(cells);
    }

    /// Returns the width at which the last column is wrapped. Without a terminal, or on a
    /// very narrow one, lines are not wrapped.
    fn wrap_width(&self) -> Option<u16> {
        let mut widths = self.inner.column_max_content_widths();
        widths.pop();
        let others: usize = widths.into_iter().map(|width| usize::from(width + GAP)).sum();
        let width = self.width.filter(|width| others + MIN_LAST_COLUMN <= *width)?;
        u16::try_from(width).ok()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Only the last column wraps, so that ids and numbers stay in one piece.
        let mut table = self.inner.clone();
        match self.wrap_width() {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        for index in 0..self.columns.saturating_sub(1) {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
                column.set_padding((0, GAP));
            }
        }
        if let Some(last) = table.column_mut(self.columns.saturating_sub(1)) {
            last.set_padding((0, 0));
        }
        let text = table.to_string();
        let lines: Vec<String> = text.lines().map(trim_padding).collect();
        f.write_str(&lines.join("\n"))
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

fn cell(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warn => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Busy => cell.fg(Color::DarkCyan),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(width: Option<usize>) -> String {
        let mut table = Table::new(Palette::new(false), &["KIND", "DESCRIPTION"]);
        table.width = width;
        table.row([("echo", Tone::Strong), ("Gives the data back as the result.", Tone::Strong)]);
        table.to_string()
    }

    #[test]
    fn last_column_wraps_to_the_width() {
        let whole = "KIND  DESCRIPTION\necho  Gives the data back as the result.";
        assert_eq!(render(None), whole);
        assert_eq!(render(Some(80)), whole);
        let wrapped = "KIND  DESCRIPTION\necho  Gives the data back as\n      the result.";
        assert_eq!(render(Some(30)), wrapped);
        assert_eq!(render(Some(20)), whole);
    }

    #[test]
    fn trim_padding_removes_trailing_spaces() {
        assert_eq!(trim_padding("a  "), "a");
        assert_eq!(trim_padding("\u{1b}[2ma   \u{1b}[0m "), "\u{1b}[2ma\u{1b}[0m");
    }
}

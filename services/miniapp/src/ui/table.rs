//! Tables without rules and frames, so that `cut` and people can read them.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement};

use super::{Palette, Tone};

/// Between two columns.
const GAP: u16 = 2;
/// In less room than this, the text of the last column would stand in shreds.
const LEAST: usize = 20;

/// A table that grows row by row.
pub struct Table {
    inner: comfy_table::Table,
    columns: usize,
    width: Option<usize>,
}

impl Table {
    /// Starts with the names of the columns.
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

    /// Adds a row.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Tone)>) {
        let cells: Vec<Cell> = cells.into_iter().map(|(text, tone)| cell(text, tone)).collect();
        self.inner.add_row(cells);
    }

    /// The width to wrap the last column at; none where there is no terminal, or one so
    /// narrow that whole lines read better, however the terminal breaks them.
    fn wrapping(&self) -> Option<u16> {
        let mut widths = self.inner.column_max_content_widths();
        widths.pop();
        let others: usize = widths.into_iter().map(|width| usize::from(width + GAP)).sum();
        let width = self.width.filter(|width| others + LEAST <= *width)?;
        u16::try_from(width).ok()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ids and numbers stay whole; what is long and for people stands last and wraps.
        let mut table = self.inner.clone();
        match self.wrapping() {
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
        let lines: Vec<String> = text.lines().map(trimmed).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// `line` without the spaces at its end, in front of the end of its style as well: on a
/// terminal just as wide as the table they would make an empty line.
fn trimmed(line: &str) -> String {
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

    fn drawn(width: Option<usize>) -> String {
        let mut table = Table::new(Palette::new(false), &["KIND", "WHAT IT DOES"]);
        table.width = width;
        table.row([("echo", Tone::Strong), ("Gives the data back as the result.", Tone::Strong)]);
        table.to_string()
    }

    #[test]
    fn the_last_column_wraps_where_there_is_room_for_words() {
        let whole = "KIND  WHAT IT DOES\necho  Gives the data back as the result.";
        assert_eq!(drawn(None), whole);
        assert_eq!(drawn(Some(80)), whole);
        let wrapped = "KIND  WHAT IT DOES\necho  Gives the data back as\n      the result.";
        assert_eq!(drawn(Some(30)), wrapped);
        assert_eq!(drawn(Some(20)), whole);
    }

    #[test]
    fn nothing_stands_behind_the_text() {
        assert_eq!(trimmed("a  "), "a");
        assert_eq!(trimmed("\u{1b}[2ma   \u{1b}[0m "), "\u{1b}[2ma\u{1b}[0m");
    }
}

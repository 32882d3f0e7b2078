//! Tables without rules and frames, so that `cut` and people can read them.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement};

use super::{Palette, Tone};

/// A table that grows row by row.
pub struct Table {
    inner: comfy_table::Table,
    columns: usize,
}

impl Table {
    /// Starts with the names of the columns.
    pub fn new(palette: Palette, header: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        inner.set_content_arrangement(ContentArrangement::Dynamic);
        if palette.is_on() {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        if let Some(width) = console::Term::stdout().size_checked().map(|(_, width)| width) {
            inner.set_width(width);
        }
        let mut table = Self { inner, columns: header.len() };
        let header = header.iter().map(|name| cell(name, Tone::Dim)).collect::<Vec<_>>();
        table.inner.set_header(header);
        table
    }

    /// Adds a row.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Tone)>) {
        let cells: Vec<Cell> = cells.into_iter().map(|(text, tone)| cell(text, tone)).collect();
        self.inner.add_row(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ids and numbers stay whole; what is long and for people stands last and wraps.
        let mut table = self.inner.clone();
        for index in 0..self.columns.saturating_sub(1) {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
                column.set_padding((0, 2));
            }
        }
        if let Some(last) = table.column_mut(self.columns.saturating_sub(1)) {
            last.set_padding((0, 0));
        }
        f.write_str(&table.trim_fmt())
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

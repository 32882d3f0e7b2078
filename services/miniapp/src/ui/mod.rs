//! What people and scripts see: lines, tables and colours, or JSON.

mod bar;
mod palette;
pub mod prompt;
mod table;
mod task;
pub mod words;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ColorChoice;
use serde::Serialize;

pub use bar::TaskBar;
pub use palette::{Palette, Tone};
pub use table::Table;
pub use task::{event_line, status_line, status_tone, task_sheet, task_table};

/// Where output goes and what it may look like.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// JSON for scripts instead of words for people.
    pub json: bool,
    /// Colours of standard output.
    pub palette: Palette,
    /// Colours of standard error, where notes and prompts go.
    pub notes: Palette,
}

impl Ui {
    /// Decides by the flags and by where the streams lead.
    pub fn new(json: bool, color: ColorChoice) -> Self {
        let shown = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                terminal
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|it| it != "dumb")
            }
        };
        Self {
            json,
            palette: Palette::new(!json && shown(io::stdout().is_terminal())),
            notes: Palette::new(shown(io::stderr().is_terminal())),
        }
    }

    /// How many columns a line may have.
    pub fn width(self) -> usize {
        let size = console::Term::stdout().size_checked();
        size.map_or(100, |(_, columns)| usize::from(columns))
    }

    /// Writes a line to standard output. Whoever reads it may have left, which is for
    /// the caller to pass on; see [`crate::failure`].
    pub fn line(self, text: impl std::fmt::Display) -> io::Result<()> {
        writeln!(io::stdout(), "{text}")
    }

    /// Writes `value` as JSON: one line into a pipe, indented on a terminal.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        self.line(text)
    }

    /// Writes `value` as one line of JSON, for output that goes on.
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// Tells people, not scripts, something beside the output.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.json {
            // Nobody is left to tell where this fails.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

//! Terminal output: lines, tables, colors and progress bars, or JSON.

mod bar;
pub mod format;
mod palette;
pub mod prompt;
mod table;
mod task;
mod trace_tree;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ColorChoice;
use serde::Serialize;

pub use bar::TaskBar;
pub use palette::{Palette, Tone};
pub use table::Table;
pub use task::{event_line, status_line, status_tone, task_details, task_table};
pub use trace_tree::TraceTree;

/// The format of the output.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// JSON for scripts instead of text for people.
    pub json: bool,
    /// Colors of standard output.
    pub palette: Palette,
    /// Colors of standard error, for notes and prompts.
    pub notes: Palette,
}

impl Ui {
    /// Uses colors if an option asks for them, or the stream is a terminal.
    pub fn new(json: bool, color: ColorChoice) -> Self {
        let has_color = |terminal: bool| match color {
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
            palette: Palette::new(!json && has_color(io::stdout().is_terminal())),
            notes: Palette::new(has_color(io::stderr().is_terminal())),
        }
    }

    /// Returns the width of the terminal.
    #[expect(clippy::unused_self, reason = "the terminal belongs to the interface")]
    pub fn width(self) -> usize {
        let size = console::Term::stdout().size_checked();
        size.map_or(100, |(_, columns)| usize::from(columns))
    }

    /// Prints a line to standard output. Fails if its reader has closed it.
    #[expect(clippy::unused_self, reason = "the stream belongs to the interface")]
    pub fn line(self, text: impl std::fmt::Display) -> io::Result<()> {
        writeln!(io::stdout(), "{text}")
    }

    /// Prints `value` as JSON: indented on a terminal, otherwise in one line.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        self.line(text)
    }

    /// Prints `value` as one line of JSON, for a sequence of values.
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// Prints a hint to standard error, unless the output is JSON.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.json {
            // An error here cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

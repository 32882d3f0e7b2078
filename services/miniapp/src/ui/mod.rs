//! Terminal output: lines, tables, colors and progress bars, or JSON.

mod bar;
pub mod format;
mod palette;
pub mod prompt;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod trace_tree;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ColorChoice;
use miniapp_runtime::terminal::escape_json;
use serde::Serialize;
use serde_json::json;

pub use bar::TaskBar;
pub use palette::{Palette, Tone};
pub use table::Table;
pub use task::{event_line, live_event_line, status_line, status_tone, task_details, task_table};
pub use text::Text;
pub(crate) use text::text;
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
        let has_notes_color = has_color(io::stderr().is_terminal());
        // Progress bars use them.
        console::set_colors_enabled_stderr(has_notes_color);
        Self {
            json,
            palette: Palette::new(!json && has_color(io::stdout().is_terminal())),
            notes: Palette::new(has_notes_color),
        }
    }

    /// Returns whether people read standard output as it is printed, in its width.
    #[expect(clippy::unused_self, reason = "the terminal belongs to the interface")]
    pub fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Returns the width of the terminal.
    #[expect(clippy::unused_self, reason = "the terminal belongs to the interface")]
    pub fn width(self) -> usize {
        let size = console::Term::stdout().size_checked();
        size.map_or(100, |(_, columns)| usize::from(columns))
    }

    /// Prints a line to standard output. Fails if its reader has closed it.
    #[expect(clippy::unused_self, reason = "the stream belongs to the interface")]
    pub fn line(self, text: impl Into<Text>) -> io::Result<()> {
        writeln!(io::stdout(), "{}", text.into().as_str())
    }

    /// Prints `value` as JSON: indented on a terminal, otherwise in one line.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        if io::stdout().is_terminal() {
            let document = serde_json::to_string_pretty(value)?;
            return writeln!(io::stdout(), "{}", escape_json(&document));
        }
        self.json_line(value)
    }

    /// Prints `value` as one line of JSON, for a sequence of values.
    #[expect(clippy::unused_self, reason = "the stream belongs to the interface")]
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        writeln!(io::stdout(), "{}", escape_json(&serde_json::to_string(value)?))
    }

    /// Prints a generated file as it is.
    #[expect(clippy::unused_self, reason = "the stream belongs to the interface")]
    pub fn file(self, content: &[u8]) -> io::Result<()> {
        io::stdout().write_all(content)
    }

    /// Prints a hint to standard error, unless the output is JSON.
    pub fn note(self, text: impl Into<Text>) {
        if !self.json {
            // An error here cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "{}", text.into().as_str());
        }
    }

    /// Prints an error to standard error: as JSON with the `code` of the problem, if it has
    /// one, and the `task` that it is about.
    pub fn error(self, message: &str, code: Option<&str>, task: Option<&str>) {
        let line = if self.json {
            let mut error = json!({ "error": message, "code": code });
            if let Some(task) = task {
                error["taskId"] = json!(task);
            }
            escape_json(&error.to_string()).into_owned()
        } else {
            let task = task.map(|task| format!("task {task}: ")).unwrap_or_default();
            let line = text![self.notes.paint(Tone::Bad, "error:"), " ", task, message];
            line.as_str().to_owned()
        };
        // An error here cannot be reported anywhere.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

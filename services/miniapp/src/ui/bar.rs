//! A progress bar driven by a task's events.

use indicatif::{ProgressBar, ProgressStyle};
use miniapp_types::task::{Event, EventType, Status};

use super::{Palette, Text, status_line};

const STEPS: u64 = 1000;
/// Minimum width of a terminal for a long bar.
const WIDE: usize = 80;

/// The progress bar of one task on standard error.
pub struct TaskBar {
    bar: ProgressBar,
    palette: Palette,
}

impl TaskBar {
    /// Creates a bar. `place` may add it to a group of bars.
    pub fn new(
        name: &str,
        palette: Palette,
        place: impl FnOnce(ProgressBar) -> ProgressBar,
    ) -> Self {
        let bar = place(ProgressBar::new(STEPS));
        let colors = if palette.is_on() { ".cyan/dim" } else { "" };
        let columns = usize::from(console::Term::stderr().size().1);
        let length = if columns < WIDE { 8 } else { 24 };
        let template = format!("{{prefix}} {{bar:{length}{colors}}} {{percent:>3}}% {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(Text::from(name).as_str().to_owned());
        Self { bar, palette }
    }

    /// Updates the bar.
    pub fn update(&self, event: &Event) {
        self.bar.set_position(steps(event.progress));
        let message = match (&event.message, event.kind) {
            (Some(message), _) => Some(message.clone()),
            (None, EventType::Started) if event.attempt > 1 => {
                Some(format!("attempt {}", event.attempt))
            }
            (None, _) => None,
        };
        let status = status_line(self.palette, event.status, message.as_deref());
        self.bar.set_message(status.as_str().to_owned());
        if event.status == Status::Finished {
            self.bar.set_position(STEPS);
        }
        if event.status.is_terminal() {
            self.bar.abandon();
        } else {
            self.bar.tick();
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to 0..=STEPS"
)]
fn steps(progress: f64) -> u64 {
    (progress.clamp(0.0, 1.0) * STEPS as f64) as u64
}

//! A progress bar that follows a task's events.

use indicatif::{ProgressBar, ProgressStyle};
use miniapp_types::task::{Event, EventType, Status};

use super::{Palette, status_line};

const STEPS: u64 = 1000;
/// A terminal from here on has room for a long bar beside the message.
const WIDE: usize = 80;

/// The bar of one task, drawn to standard error while that is a terminal.
pub struct TaskBar {
    bar: ProgressBar,
    palette: Palette,
}

impl TaskBar {
    /// A bar of its own, or one that `place` puts among others.
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
        bar.set_prefix(name.to_owned());
        Self { bar, palette }
    }

    /// Shows what `event` tells.
    pub fn show(&self, event: &Event) {
        self.bar.set_position(steps(event.progress));
        let said = match (&event.message, event.kind) {
            (Some(message), _) => Some(message.clone()),
            (None, EventType::Started) if event.attempt > 1 => {
                Some(format!("attempt {}", event.attempt))
            }
            (None, _) => None,
        };
        self.bar.set_message(status_line(self.palette, event.status, said.as_deref()));
        if event.status == Status::Finished {
            self.bar.set_position(STEPS);
        }
        if event.status.is_terminal() {
            self.bar.abandon();
        } else {
            self.bar.tick();
        }
    }

    /// Takes the bar away.
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

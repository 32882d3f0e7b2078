//! Output of the demo for people.

use crate::ui::{Text, Tone, Ui};

/// Prints text, unless the output is JSON.
#[derive(Clone, Copy)]
pub struct Console(pub Ui);

impl Console {
    pub fn title(self, text: &str) -> anyhow::Result<()> {
        self.print("")?;
        self.print(self.0.palette.paint(Tone::Strong, text))
    }

    pub fn print(self, text: impl Into<Text>) -> anyhow::Result<()> {
        if !self.0.json {
            self.0.line(text)?;
        }
        Ok(())
    }
}

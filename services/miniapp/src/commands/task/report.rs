//! The output of commands that change a task.

use std::io;

use miniapp_types::task::Task;

use crate::context::Context;
use crate::ui::{status_line, text};

/// Prints the status of a task after a change.
pub fn report(context: &Context, task: &Task) -> io::Result<()> {
    let ui = context.ui;
    if ui.json {
        return ui.json(task);
    }
    let status = status_line(ui.palette, task.status, task.status_message.as_deref());
    ui.line(text![task.task_id, "  ", status])
}

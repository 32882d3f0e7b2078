//! Prompts on the terminal.

use anyhow::{Context as _, bail};
use console::Term;
use miniapp_types::account::Secret;

use super::{Tone, Ui};

/// Returns whether input and prompts are on a terminal.
pub fn is_interactive() -> bool {
    Term::stderr().is_term() && std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// Prompts for a line.
pub async fn prompt(label: &'static str) -> anyhow::Result<String> {
    let input = read_with(label, Term::read_line).await?;
    Ok(input.trim().to_owned())
}

/// Prompts for a password without echo.
pub async fn prompt_password(label: &'static str) -> anyhow::Result<Secret> {
    read_with(label, Term::read_secure_line).await.map(Secret::new)
}

/// Prompts for a new password until it is typed the same twice.
pub async fn prompt_new_password(ui: Ui) -> anyhow::Result<Secret> {
    loop {
        let password = prompt_password("Password (10 characters or more)").await?;
        if password == prompt_password("Repeat the password").await? {
            return Ok(password);
        }
        ui.note(ui.notes.paint(Tone::Warn, "The passwords differ; try again."));
    }
}

async fn read_with(
    label: &'static str,
    read: fn(&Term) -> std::io::Result<String>,
) -> anyhow::Result<String> {
    if !is_interactive() {
        bail!("no terminal to prompt for: {label}; use an option instead, see --help");
    }
    let terminal = Term::stderr();
    let input = tokio::task::spawn_blocking(move || {
        terminal.write_str(&format!("{label}: "))?;
        read(&terminal)
    });
    let input = input.await?.context("cannot read from the terminal")?;
    if input.is_empty() {
        bail!("nothing was entered");
    }
    Ok(input)
}

/// Reads a password from the next line of standard input.
pub fn password_from_stdin() -> anyhow::Result<Secret> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password on standard input");
    }
    Ok(Secret::new(password))
}

//! Questions to whoever sits at the terminal.

use anyhow::{Context as _, bail};
use console::Term;
use miniapp_types::account::Secret;

/// Whether somebody sits there.
pub fn can_ask() -> bool {
    Term::stderr().is_term() && std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// Asks for a line.
pub async fn ask(question: &'static str) -> anyhow::Result<String> {
    let answer = prompt(question, Term::read_line).await?;
    Ok(answer.trim().to_owned())
}

/// Asks for something that must not show.
pub async fn ask_secretly(question: &'static str) -> anyhow::Result<Secret> {
    prompt(question, Term::read_secure_line).await.map(Secret::new)
}

async fn prompt(
    question: &'static str,
    read: fn(&Term) -> std::io::Result<String>,
) -> anyhow::Result<String> {
    if !can_ask() {
        bail!("there is no terminal to ask on ({question}); give it as an option, see --help");
    }
    let terminal = Term::stderr();
    // Reading blocks until there is an answer.
    let answer = tokio::task::spawn_blocking(move || {
        terminal.write_str(&format!("{question}: "))?;
        read(&terminal)
    });
    let answer = answer.await?.context("can't read from the terminal")?;
    if answer.is_empty() {
        bail!("nothing was entered");
    }
    Ok(answer)
}

/// Reads a password from standard input, without the line's end.
pub fn password_from_stdin() -> anyhow::Result<Secret> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("can't read standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("standard input held no password");
    }
    Ok(Secret::new(password))
}

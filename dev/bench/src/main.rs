//! Load generator: measures MiniApp over HTTP and compares it with the limits of the machine.

mod embedded;
mod expectations;
mod figures;
mod load;
mod phases;
mod plan;
mod processes;
mod progress;
mod servers;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure MiniApp over HTTP, compared with targets and the limits of the machine
///
/// Without a command, starts PostgreSQL, RabbitMQ and the services as processes of their
/// own and measures those.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    servers: servers::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Measure the platform in one process on SQLite
    Embedded(embedded::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, servers } = Cli::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; its figures are not meaningful");
    }
    let (figures, json) = match command {
        Some(Command::Embedded(args)) => (embedded::run(&args).await, args.plan.json),
        None => (servers::run(&servers).await, servers.plan.json),
    };
    match figures {
        Ok(figures) if json => println!("{}", figures.json()),
        Ok(figures) => println!("{}", figures.table().trim_fmt()),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_valid() {
        Cli::command().debug_assert();
    }
}

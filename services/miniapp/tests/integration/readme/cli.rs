//! The reference of the command line is generated from `--help`.

use std::fmt::Write as _;

use miniapp_test_support::platform::Program;

use crate::readme::pages::Generated;

const COMMANDS: Generated = Generated { page: "docs/reference/cli.md", name: "commands" };

#[tokio::test]
async fn cli_reference_matches_the_help() {
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp"));
    let mut text = String::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = program.run(&arguments).await.stdout;
        let commands = subcommands(&help);
        assert!(!path.is_empty() || commands.len() > 10, "{help}");
        if !path.is_empty() {
            write!(text, "\n## miniapp {}\n\n```text\n{}```\n", path.join(" "), own_part(&help))
                .expect("a text");
        }
        // The last one is taken first.
        paths.extend(commands.into_iter().rev().map(|name| {
            let mut path = path.clone();
            path.push(name);
            path
        }));
    }
    COMMANDS.check(&text);
}

fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        // Continued descriptions are indented further.
        line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next()
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The help without the options that all commands have.
fn own_part(help: &str) -> String {
    let own = help.split("Global options:").next().expect("a first part");
    let mut lines: Vec<&str> = own.lines().map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

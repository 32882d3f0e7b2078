//! Every command of the README, in its order, in one shell.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use miniapp_test_support::PATIENCE;
use miniapp_test_support::platform::{Platform, Program};
use tokio::time::Instant;

use crate::{blocks, read, root};

/// What the shell knows before it begins: `cargo run` is the program that was built, which
/// serves already. A mail takes a moment to arrive, and so do people.
const PRELUDE: &str = r#"
set -eu
cargo() {
    [ "$1" = run ] && shift
    [ "${1-}" != --quiet ] || shift
    [ "${1-}" != -- ] || shift
    case "${1-serve}" in
        serve) ;;
        mail) until "$PROGRAM" "$@"; do sleep 0.05; done 2>/dev/null ;;
        *) "$PROGRAM" "$@" ;;
    esac
}
"#;

#[tokio::test]
async fn every_command_of_the_readme_works() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: curl is missing");
    }
    let platform = Program::new(env!("CARGO_BIN_EXE_miniapp")).start().await;
    let readme = read("README.md");
    let blocks = blocks(&readme, "sh");
    assert_eq!(blocks[0], "cargo run\n", "what begins everything");
    let mut script = PRELUDE.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        writeln!(script, "echo '== block {number}'\n{block}echo").expect("a text");
    }
    for (default, actual) in
        [("http://127.0.0.1:8000", platform.api()), ("http://127.0.0.1:8005", platform.auth())]
    {
        assert!(script.contains(default), "{default}");
        script = script.replace(default, &actual);
    }

    let said = run(&platform, &script).await;
    for (what, proof) in [
        ("the account is made", "\"login\":\"ada\""),
        ("the events come", "\"type\":\"finished\""),
        ("the task has its result", "\"result\":{\"hello\":\"world\"}"),
        ("the computation ends", "Compute something"),
        ("why is told", "Fail at first (flaky) is Finished."),
        ("an admin is made", "ada is"),
    ] {
        assert!(said.contains(proof), "{what}: {said}");
    }
    let last = format!("== block {}", blocks.len() - 1);
    assert!(said.contains(&last), "{said}");
}

/// Runs a script in a folder that stands for the repository; what it said.
async fn run(platform: &Platform, script: &str) -> String {
    let program = platform.program();
    let folder = program.home().join("repository");
    fs::create_dir(&folder).expect("a folder");
    stand_in_for_test(&folder);
    fs::write(folder.join("readme.sh"), script).expect("written");
    let output = fs::File::create(folder.join("output")).expect("a file");
    let mut child = Command::new("sh")
        .arg("readme.sh")
        .env_clear()
        .envs(program.environment())
        .env("PROGRAM", program.binary())
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .spawn()
        .expect("a shell");
    let deadline = Instant::now() + 2 * PATIENCE;
    let said = || fs::read_to_string(folder.join("output")).expect("text");
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("hangs after {}", said());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let said = said();
    assert!(status.success(), "{status} after {said}");
    said
}

/// `./test` runs this test: here it stops at being there.
fn stand_in_for_test(folder: &Path) {
    let is_executable =
        |path: &Path| fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 1 == 1);
    assert!(is_executable(&root().join("test")), "./test can't be run");
    let path = folder.join("test");
    fs::write(&path, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
}

#[tokio::test]
async fn every_command_of_the_program_is_in_the_table() {
    let help = Program::new(env!("CARGO_BIN_EXE_miniapp")).run(&["--help"]).await;
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 10, "{}", help.stdout);
    let readme = read("README.md");
    let table: String = readme.lines().filter(|line| line.starts_with("| `miniapp")).collect();
    for name in commands {
        let is_named = table.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
        assert!(is_named, "{name} isn't in the README's table of commands");
    }
}

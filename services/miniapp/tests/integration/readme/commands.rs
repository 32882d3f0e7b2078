//! Runs the commands of each page, in order, in one shell.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use miniapp_test_support::TIMEOUT;
use miniapp_test_support::platform::{Platform, Program};
use tokio::time::Instant;

use crate::readme::pages::{blocks, pages, read, root};

/// Defines `cargo run` as the program that was built, which is serving already. A mail takes a
/// moment to arrive.
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

/// Text that the commands of a page print, by what it proves.
const EXPECTED: [(&str, &[(&str, &str)]); 2] = [
    (
        "README.md",
        &[("the demo ends", "Finished"), ("a task is accepted", "\"status\":\"Awaiting\"")],
    ),
    (
        "docs/tutorial.md",
        &[
            ("the account is made", "\"login\":\"ada\""),
            ("the events come", "\"type\":\"finished\""),
            ("the task has its result", "\"result\":{\"hello\":\"world\"}"),
            ("the computation ends", "Compute something"),
            ("the status is explained", "Fail at first (flaky) is Finished."),
            ("an admin is made", "ada now has the roles user, admin."),
        ],
    ),
];

#[test]
fn pages_with_commands_are_run() {
    for page in pages() {
        let has_commands = !blocks(&read(&page), "sh").is_empty();
        let is_run = EXPECTED.iter().any(|(it, _)| *it == page);
        assert_eq!(has_commands, is_run, "{page} has blocks of language sh");
    }
}

#[tokio::test]
async fn commands_of_the_readme_work() {
    run_page(0).await;
}

#[tokio::test]
async fn commands_of_the_tutorial_work() {
    run_page(1).await;
}

async fn run_page(index: usize) {
    let (page, expected) = EXPECTED[index];
    let platform = Program::new(env!("CARGO_BIN_EXE_miniapp")).start().await;
    let blocks = blocks(&read(page), "sh");
    assert_eq!(blocks[0], "cargo run\n", "the first command of {page}");
    let mut script = PRELUDE.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        writeln!(script, "echo '== block {number}'\n{block}echo").expect("a text");
    }
    for (default, actual) in
        [("http://127.0.0.1:8000", platform.api()), ("http://127.0.0.1:8005", platform.auth())]
    {
        assert!(script.contains(default), "{page}: {default}");
        script = script.replace(default, &actual);
    }

    let output = run(&platform, &script).await;
    for (proven, text) in expected {
        assert!(output.contains(text), "{page}: {proven}: {output}");
    }
    let last = format!("== block {}", blocks.len() - 1);
    assert!(output.contains(&last), "{output}");
}

/// Runs a script in a folder that stands for the repository. Returns its output.
async fn run(platform: &Platform, script: &str) -> String {
    let program = platform.program();
    let folder = program.home().join("repository");
    fs::create_dir(&folder).expect("a folder");
    stub_test_script(&folder);
    fs::write(folder.join("commands.sh"), script).expect("written");
    let output = fs::File::create(folder.join("output")).expect("a file");
    let mut child = Command::new("sh")
        .arg("commands.sh")
        .env_clear()
        .envs(program.environment())
        .env("PROGRAM", program.binary())
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .spawn()
        .expect("a shell");
    let deadline = Instant::now() + 2 * TIMEOUT;
    let printed = || fs::read_to_string(folder.join("output")).expect("text");
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("hangs after {}", printed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let printed = printed();
    assert!(status.success(), "{status} after {printed}");
    printed
}

/// Replaces `./test`, which would run this test again.
fn stub_test_script(folder: &Path) {
    let is_executable =
        |path: &Path| fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 1 == 1);
    assert!(is_executable(&root().join("test")), "./test can't be run");
    let path = folder.join("test");
    fs::write(&path, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
}

//! The commands of the program: what they print, refuse and remember.

mod accounts;
mod command_worker;
mod hostile;
mod keys;
mod options;
mod tasks;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use miniapp_test_support::platform::{PASSWORD, Platform, Program, User};
use serde_json::Value;

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// The outcome of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a command with `input` on standard input.
fn run(program: &Program, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(program.binary());
    command.args(arguments).env_clear().envs(program.environment());
    run_command(command, input)
}

fn run_command(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            // A test in another thread has started a process while this one wrote the program.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
            child => break child.expect("started"),
        }
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read it may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("an end");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Returns the file with the tokens of the program.
fn session_file(program: &Program) -> PathBuf {
    let sessions = program.home().join(".local/state/miniapp/sessions");
    let mut files = fs::read_dir(sessions).expect("a folder").map(|it| it.expect("a file").path());
    files.find(|path| path.extension().is_some_and(|it| it == "json")).expect("a session")
}

/// Signs the program in. The user shares its tokens.
async fn signed_in(platform: &Platform, login: &str) -> User {
    let mut user = platform.sign_up(login).await;
    let program = platform.program();
    run(program, &["login", login, "--password-stdin"], PASSWORD).expect(0);
    let session = fs::read(session_file(program)).expect("readable");
    let session: Value = serde_json::from_slice(&session).expect("JSON");
    let token = |name: &str| session[name].as_str().expect("a token").to_owned();
    user.use_tokens(&token("access"), &token("refresh"));
    user
}

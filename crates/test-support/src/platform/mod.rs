//! The platform as users run it: the real program in one process, or a process per service.

#[cfg(target_os = "linux")]
mod clock_skew;
mod engines;
mod process;
mod program;
mod separate;
mod user;

use std::process::ExitStatus;

use miniapp_accounts::code::is_code;
use reqwest::RequestBuilder;
use rustix::process::Pid;
use serde_json::{Value, json};

use self::process::Process;

pub use engines::Engines;
pub use program::{Finished, Program};
pub use rustix::process::Signal;
pub use separate::{Separate, Service};
pub use user::{PASSWORD, User, task};

use crate::eventually;
use crate::http::{self, Answer, method};

/// A running platform. Dropping it kills the process.
pub struct Platform {
    program: Program,
    process: Process,
}

impl Platform {
    fn launch(program: &Program, arguments: &[&str]) -> Self {
        Self { program: program.clone(), process: Process::start(program, arguments) }
    }

    pub async fn ready(mut self) -> Self {
        self.process.until_ready(&self.admin()).await;
        self
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn auth(&self) -> String {
        self.program.url("auth.listen")
    }

    pub fn api(&self) -> String {
        self.program.url("api.listen")
    }

    pub fn admin(&self) -> String {
        self.program.url("admin.listen")
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Everything that it has written to standard output and standard error.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// What it has written to standard output.
    pub fn shown(&self) -> String {
        self.process.shown()
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn auth_request(&self, name: &str, path: &str) -> RequestBuilder {
        http::client().request(method(name), format!("{}{path}", self.auth()))
    }

    pub fn api_request(&self, name: &str, path: &str) -> RequestBuilder {
        http::client().request(method(name), format!("{}{path}", self.api()))
    }

    pub fn admin_request(&self, path: &str) -> RequestBuilder {
        http::client().get(format!("{}{path}", self.admin()))
    }

    pub async fn post_auth(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.auth_request("POST", path).json(body)).await
    }

    /// Requests a code for `email` by `path` and returns the code from the mail.
    pub async fn code_by(&self, path: &str, email: &str) -> String {
        let before = self.codes_to(email).len();
        self.post_auth(path, &json!({ "email": email })).await.expect(202);
        eventually("the code has come", async || self.codes_to(email).into_iter().nth(before)).await
    }

    /// Requests a code to register `email` with, and returns it.
    pub async fn code_for(&self, email: &str) -> String {
        self.code_by("/send-verification-code", email).await
    }

    /// The codes in the mails to `email` on the terminal, oldest first.
    fn codes_to(&self, email: &str) -> Vec<String> {
        let (shown, head) = (self.shown(), format!("Mail to {email}: "));
        let mails = shown.split(&head).skip(1);
        let codes = mails.filter_map(|mail| mail.split_whitespace().find(|word| is_code(word)));
        codes.map(str::to_owned).collect()
    }

    /// Registers an account and signs in.
    pub async fn sign_up(&self, login: &str) -> User {
        let code = async |email: &str| self.code_for(email).await;
        User::sign_up(&self.auth(), &self.api(), login, code).await
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until the process exits.
    pub async fn ended(mut self) -> Ended {
        let status = self.process.ended().await;
        Ended { status, shown: self.shown(), log: self.log(), program: self.program }
    }

    /// Kills the process with SIGKILL.
    pub async fn kill(self) -> Program {
        self.signal(Signal::KILL);
        self.ended().await.program
    }

    /// Sends SIGTERM and waits until the process exits.
    pub async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

/// A platform that has exited.
pub struct Ended {
    pub status: ExitStatus,
    pub shown: String,
    pub log: String,
    /// Runs on the same files.
    pub program: Program,
}

//! The whole platform as people run it: the real program in a process of its own, or one
//! for each service, asked over HTTP.

mod engines;
mod process;
mod program;
mod separate;
#[cfg(target_os = "linux")]
mod skew;
mod user;

use std::process::ExitStatus;

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

/// A running platform. Dropped, its process is killed.
pub struct Platform {
    program: Program,
    process: Process,
}

impl Platform {
    /// Starts it with `program`'s settings.
    fn launch(program: &Program) -> Self {
        Self { program: program.clone(), process: Process::start(program) }
    }

    /// Waits until it is ready.
    pub async fn ready(mut self) -> Self {
        self.process.until_ready(&self.admin()).await;
        self
    }

    /// What it was started with.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Where auth is.
    pub fn auth(&self) -> String {
        self.program.url("auth.listen")
    }

    /// Where the API is.
    pub fn api(&self) -> String {
        self.program.url("api.listen")
    }

    /// Where the admin listener is.
    pub fn admin(&self) -> String {
        self.program.url("admin.listen")
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Everything that it has written so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// What it has shown to people so far.
    pub fn shown(&self) -> String {
        self.process.shown()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A request to auth.
    pub fn ask_auth(&self, name: &str, path: &str) -> RequestBuilder {
        http::client().request(method(name), format!("{}{path}", self.auth()))
    }

    /// A request to the API.
    pub fn ask_api(&self, name: &str, path: &str) -> RequestBuilder {
        http::client().request(method(name), format!("{}{path}", self.api()))
    }

    /// A request to the admin listener.
    pub fn ask_admin(&self, path: &str) -> RequestBuilder {
        http::client().get(format!("{}{path}", self.admin()))
    }

    /// Posts `body` to auth.
    pub async fn post_auth(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.ask_auth("POST", path).json(body)).await
    }

    /// Has a code sent to `email` by the open path `path` and gives it.
    pub async fn code_by(&self, path: &str, email: &str) -> String {
        let before = self.codes_to(email).len();
        self.post_auth(path, &json!({ "email": email })).await.expect(202);
        eventually("the code has come", async || self.codes_to(email).into_iter().nth(before)).await
    }

    /// Has a code sent to `email`, to register with, and gives it.
    pub async fn code_for(&self, email: &str) -> String {
        self.code_by("/send-verification-code", email).await
    }

    /// The codes in the mails to `email` that the terminal has shown, oldest first.
    fn codes_to(&self, email: &str) -> Vec<String> {
        let is_code =
            |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
        let (shown, head) = (self.shown(), format!("Mail to {email}: "));
        let mails = shown.split(&head).skip(1);
        let codes = mails.filter_map(|mail| mail.split_whitespace().find(is_code));
        codes.map(str::to_owned).collect()
    }

    /// Makes an account from nothing and signs in.
    pub async fn sign_up(&self, login: &str) -> User {
        let code = async |email: &str| self.code_for(email).await;
        User::sign_up(self.auth(), self.api(), login, code).await
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(mut self) -> Ended {
        let status = self.process.ended().await;
        Ended { status, shown: self.shown(), log: self.log(), program: self.program }
    }

    /// Kills the process where it stands.
    pub async fn kill(self) -> Program {
        self.signal(Signal::KILL);
        self.ended().await.program
    }

    /// Asks it to stop and waits for that.
    pub async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

/// A platform that has stopped.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it had shown to people.
    pub shown: String,
    /// What it had logged.
    pub log: String,
    /// Starts it again, on the same files.
    pub program: Program,
}

//! The whole platform as people run it: the real program in a process of its own, asked
//! over HTTP.

mod ports;
mod program;
mod user;

use std::io::Read;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use reqwest::RequestBuilder;
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use program::{Finished, Program};
pub use rustix::process::Signal;
pub use user::{PASSWORD, User, task};

use crate::http::{self, Answer, method};
use crate::{PATIENCE, eventually};

/// A running platform. Dropped, its process is killed.
pub struct Platform {
    program: Program,
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Platform {
    /// Starts it with `program`'s settings and waits until it is ready.
    async fn start(program: &Program) -> Self {
        let mut child = program.spawn(&[]);
        let stdout = Captured::from(child.stdout.take());
        let stderr = Captured::from(child.stderr.take());
        let program = program.clone();
        let mut platform = Self { program, child, stdout, stderr };
        let ready = format!("{}/readyz", platform.admin());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = platform.child.try_wait().expect("a child") {
                panic!("the platform ended with {status}: {}", platform.output());
            }
            match Answer::try_to(http::client().get(&ready)).await {
                Ok(answer) if answer.status == 200 => return platform,
                _ => assert!(Instant::now() < deadline, "not ready: {}", platform.output()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
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
        Pid::from_child(&self.child)
    }

    /// Everything that it has written so far.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    /// What it has shown to people so far.
    pub fn shown(&self) -> String {
        self.stdout.text()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.stderr.text()
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
        User::sign_up(self, login).await
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(mut self) -> Ended {
        let child = &mut self.child;
        let ended = async || child.try_wait().expect("a child");
        let status = eventually("the platform has stopped", ended).await;
        self.stdout.finish();
        self.stderr.finish();
        Ended { status, shown: self.shown(), log: self.log(), program: self.program.clone() }
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

impl Drop for Platform {
    fn drop(&mut self) {
        // Gone already, or not to be helped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the platform's output ----\n{}", self.output());
        }
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

/// What a process writes, read all the time so that it never waits for a reader.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn from(stream: Option<impl Read + Send + 'static>) -> Self {
        let mut stream = stream.expect("a pipe");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                into.lock().extend_from_slice(&piece[..read]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock()).into_owned()
    }

    /// Waits for the last byte of a process that has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
    }
}

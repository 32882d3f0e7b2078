//! The platform as separate processes.

use std::net::SocketAddr;
use std::process::ExitStatus;

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use rustix::process::Pid;
use serde_json::json;

use super::process::Process;
use super::{Program, Signal, User};
use crate::eventually;
use crate::http::{Answer, client};
use crate::ports;

/// Services as processes of their own, on one database and one broker.
pub struct Separate {
    program: Program,
    /// Auth.
    pub auth: Service,
    /// Replicas of the API.
    pub apis: Vec<Service>,
    /// Workers.
    pub workers: Vec<Service>,
}

/// A service in a process of its own.
pub struct Service {
    program: Program,
    process: Process,
    listen: &'static str,
    /// What its processes of before have logged.
    logged: String,
}

impl Separate {
    /// Starts them with the settings of `program`, all at once, and waits until they are
    /// ready. Their binaries lie beside that of `program`.
    pub async fn start(program: &Program, apis: usize, workers: usize) -> Self {
        let mut separate = Self::launch(program, apis, workers);
        let services = separate.services().map(Service::until_ready);
        join_all(services).await;
        separate
    }

    /// Starts them and waits for nothing.
    pub fn launch(program: &Program, apis: usize, workers: usize) -> Self {
        Self::launch_each(program, apis, workers, |program, _, _| program)
    }

    /// Starts them and waits for nothing. `own` makes of the settings of all those of one,
    /// by its name (`auth`, `api` or `worker`) and its number among those, from 0 on.
    pub fn launch_each(
        program: &Program,
        apis: usize,
        workers: usize,
        own: impl Fn(Program, &str, usize) -> Program,
    ) -> Self {
        let service =
            |name, number, listen| Service::start(own(program.beside(name), name, number), listen);
        Self {
            auth: service("auth", 0, "auth.listen"),
            apis: (0..apis).map(|number| service("api", number, "api.listen")).collect(),
            workers: (0..workers).map(|number| service("worker", number, "admin.listen")).collect(),
            program: program.clone(),
        }
    }

    /// All of them.
    pub fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        [&mut self.auth].into_iter().chain(&mut self.apis).chain(&mut self.workers)
    }

    /// Makes an account from nothing and signs in, at the first API.
    pub async fn sign_up(&self, login: &str) -> User {
        let code = async |email: &str| {
            let asked = client().post(format!("{}/send-verification-code", self.auth.url()));
            Answer::to(asked.json(&json!({ "email": email }))).await.expect(202);
            eventually("the code has come", async || {
                let mail = self.program.run(&["mail", "--code", "--to", email]).await;
                mail.status.success().then(|| mail.stdout.trim().to_owned())
            })
            .await
        };
        User::sign_up(self.auth.url(), self.apis[0].url(), login, code).await
    }

    /// The same user at each API.
    pub fn everywhere(&self, user: &User) -> Vec<User> {
        self.apis.iter().map(|api| user.at(&api.url())).collect()
    }
}

impl Service {
    fn start(program: Program, listen: &'static str) -> Self {
        let listens =
            |key, program: Program| program.set(key, format_args!("127.0.0.1:{}", ports::free()));
        let program = listens("admin.listen", program);
        // The others have to know where auth is, so it has its place already.
        let program = if listen == "api.listen" { listens(listen, program) } else { program };
        Self { process: Process::start(&program), program, listen, logged: String::new() }
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&mut self) {
        self.process.until_ready(&self.program.url("admin.listen")).await;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.program.url(self.listen)
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.program.setting("admin.listen").parse().expect("an address")
    }

    /// A request to its admin listener.
    pub fn ask_admin(&self, path: &str) -> RequestBuilder {
        client().get(format!("{}{path}", self.program.url("admin.listen")))
    }

    /// What it has logged so far, before it was started again too.
    pub fn log(&self) -> String {
        format!("{}{}", self.logged, self.process.log())
    }

    /// Waits until it has logged `text`: what it logs may come a little after what it does.
    pub async fn until_it_says(&self, text: &str) {
        let said = async || self.log().contains(text).then_some(());
        eventually(&format!("{text:?} is logged"), said).await;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How its process has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.has_ended()
    }

    /// Waits until its process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// Kills it where it stands.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Starts it again, where it was, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.launch_again();
        self.until_ready().await;
    }

    /// Kills it and starts it anew, with its program changed.
    pub async fn replace(&mut self, change: impl FnOnce(Program) -> Program) {
        self.kill().await;
        self.program = change(self.program.clone());
        self.start_again().await;
    }

    /// Starts it again, where it was, and waits for nothing.
    pub fn launch_again(&mut self) {
        self.logged.push_str(&self.process.log());
        self.process = Process::start(&self.program);
    }
}

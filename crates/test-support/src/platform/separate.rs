//! The platform as a process per service.

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

/// Services in separate processes, with one database and one broker.
pub struct Separate {
    program: Program,
    pub auth: Service,
    pub apis: Vec<Service>,
    pub workers: Vec<Service>,
}

/// A service in its own process.
pub struct Service {
    program: Program,
    process: Process,
    listen: &'static str,
    /// The log of its earlier processes.
    logged: String,
}

impl Separate {
    /// Starts all services with the settings of `program` and waits until they are ready. Their
    /// binaries are in the same folder as that of `program`.
    pub async fn start(program: &Program, apis: usize, workers: usize) -> Self {
        let mut separate = Self::launch(program, apis, workers);
        let services = separate.services().map(Service::until_ready);
        join_all(services).await;
        separate
    }

    /// Starts all services without waiting.
    pub fn launch(program: &Program, apis: usize, workers: usize) -> Self {
        Self::launch_each(program, apis, workers, |program, _, _| program)
    }

    /// Starts all services without waiting. `own` changes the settings of one of them by its name
    /// (`auth`, `api` or `worker`) and its index.
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

    pub fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        [&mut self.auth].into_iter().chain(&mut self.apis).chain(&mut self.workers)
    }

    /// Registers an account and signs in, at the first API.
    pub async fn sign_up(&self, login: &str) -> User {
        let code = async |email: &str| {
            let request = client().post(format!("{}/send-verification-code", self.auth.url()));
            Answer::to(request.json(&json!({ "email": email }))).await.expect(202);
            eventually("the code has come", async || {
                let mail = self.program.run(&["mail", "--code", "--to", email]).await;
                mail.status.success().then(|| mail.stdout.trim().to_owned())
            })
            .await
        };
        User::sign_up(&self.auth.url(), &self.apis[0].url(), login, code).await
    }

    /// The user as a client of each API.
    pub fn everywhere(&self, user: &User) -> Vec<User> {
        self.apis.iter().map(|api| user.at(&api.url())).collect()
    }
}

impl Service {
    fn start(program: Program, listen: &'static str) -> Self {
        let listens =
            |key, program: Program| program.set(key, format_args!("127.0.0.1:{}", ports::free()));
        let program = listens("admin.listen", program);
        // The other services need the address of auth.
        let program = if listen == "api.listen" { listens(listen, program) } else { program };
        Self { process: Process::start(&program, &[]), program, listen, logged: String::new() }
    }

    pub async fn until_ready(&mut self) {
        self.process.until_ready(&self.program.url("admin.listen")).await;
    }

    pub fn url(&self) -> String {
        self.program.url(self.listen)
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn admin(&self) -> SocketAddr {
        self.program.setting("admin.listen").parse().expect("an address")
    }

    pub fn admin_request(&self, path: &str) -> RequestBuilder {
        client().get(format!("{}{path}", self.program.url("admin.listen")))
    }

    /// Its log, including that of earlier processes.
    pub fn log(&self) -> String {
        format!("{}{}", self.logged, self.process.log())
    }

    /// Waits until it has logged `text`. A log line may arrive after its effect.
    pub async fn until_logged(&self, text: &str) {
        let logged = async || self.log().contains(text).then_some(());
        eventually(&format!("{text:?} is logged"), logged).await;
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.has_ended()
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Starts it again on the same address and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.launch_again();
        self.until_ready().await;
    }

    /// Kills it and starts it again with a changed program.
    pub async fn replace(&mut self, change: impl FnOnce(Program) -> Program) {
        self.kill().await;
        self.program = change(self.program.clone());
        self.start_again().await;
    }

    /// Starts it again on the same address without waiting.
    pub fn launch_again(&mut self) {
        self.logged.push_str(&self.process.log());
        self.process = Process::start(&self.program, &[]);
    }
}

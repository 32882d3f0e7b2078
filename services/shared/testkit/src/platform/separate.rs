//! The platform as separate processes.

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::json;

use super::process::Process;
use super::{Program, Signal, User, ports};
use crate::eventually;
use crate::http::{Answer, client};

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
        let service = |name, listen| Service::start(program.beside(name), listen);
        Self {
            auth: service("auth", "auth.listen"),
            apis: (0..apis).map(|_| service("api", "api.listen")).collect(),
            workers: (0..workers).map(|_| service("worker", "admin.listen")).collect(),
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
        Self { process: Process::start(&program), program, listen }
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&mut self) {
        self.process.until_ready(&self.program.url("admin.listen")).await;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.program.url(self.listen)
    }

    /// A request to its admin listener.
    pub fn ask_admin(&self, path: &str) -> RequestBuilder {
        client().get(format!("{}{path}", self.program.url("admin.listen")))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it where it stands.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.ended().await;
    }

    /// Starts it again, where it was, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.process = Process::start(&self.program);
        self.until_ready().await;
    }

    /// Kills it and starts it anew, with its program changed.
    pub async fn replace(&mut self, change: impl FnOnce(Program) -> Program) {
        self.kill().await;
        self.program = change(self.program.clone());
        self.start_again().await;
    }
}

//! Accounts with a manual clock and a mailer that can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use miniapp_accounts::mail::{Mail, MailError, Mailer};
use miniapp_accounts::requests::{Registration, Verification};
use miniapp_accounts::{
    Accounts, Caller, Dependencies, Email, Identity, OpenError, Store, open_store,
};
use miniapp_broker::{Broker, MemoryBroker, Queue};
use miniapp_config::Config;
use miniapp_runtime::clock::ManualClock;
use miniapp_types::account::{Account, Secret, Tokens};
use miniapp_types::fields::FromFields as _;
use miniapp_types::message::AccountDeleted;
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery";

/// A mailer that collects mails, or fails.
#[derive(Default)]
pub struct TestMailer {
    sent: Mutex<Vec<Mail>>,
    error: Mutex<Option<MailError>>,
    is_silent: AtomicBool,
}

impl TestMailer {
    pub fn fail(&self, error: MailError) {
        *self.error.lock() = Some(error);
    }

    /// Makes the server accept mails and not answer.
    pub fn silence(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    pub fn recover(&self) {
        *self.error.lock() = None;
    }

    pub fn sent(&self) -> Vec<Mail> {
        self.sent.lock().clone()
    }
}

#[async_trait]
impl Mailer for TestMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match &*self.error.lock() {
            Some(MailError::Temporary(reason)) => return Err(MailError::Temporary(reason.clone())),
            Some(MailError::Permanent(reason)) => return Err(MailError::Permanent(reason.clone())),
            None => {}
        }
        self.sent.lock().push(mail.clone());
        Ok(())
    }

    async fn ping(&self) -> Result<(), MailError> {
        Ok(())
    }
}

pub struct Platform {
    pub accounts: Accounts,
    pub store: Arc<dyn Store>,
    pub broker: Arc<MemoryBroker>,
    pub mailer: Arc<TestMailer>,
    pub clock: Arc<ManualClock>,
    pub config: Config,
    files: TempDir,
    /// Settings of every process.
    settings: Vec<(&'static str, String)>,
}

impl Platform {
    pub async fn new() -> Self {
        Self::with(Vec::new()).await
    }

    /// Opens a platform with additional settings.
    pub async fn with(settings: Vec<(&'static str, String)>) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        Self::open(files, Arc::default(), settings).await.expect("accounts")
    }

    async fn open(
        files: TempDir,
        clock: Arc<ManualClock>,
        settings: Vec<(&'static str, String)>,
    ) -> Result<Self, OpenError> {
        let config = config(&files, &settings, &[]);
        let store = open_store(&config.section().expect("a section")).await.expect("a store");
        let broker = Arc::new(MemoryBroker::new());
        let mailer = Arc::new(TestMailer::default());
        let dependencies = Dependencies {
            service: "auth",
            store: store.clone(),
            broker: broker.clone(),
            mailer: mailer.clone(),
            clock: clock.clone(),
        };
        let accounts = Accounts::open(&config, dependencies).await?;
        Ok(Self { accounts, store, broker, mailer, clock, config, files, settings })
    }

    /// Restarts the process on the same files, with an empty broker.
    pub async fn restart(self) -> Self {
        Self::open(self.files, self.clock, self.settings).await.expect("accounts")
    }

    /// Starts a replica with the same store and additional settings.
    pub async fn replica(&self, settings: &[(&str, &str)]) -> Result<Accounts, OpenError> {
        let dependencies = Dependencies {
            service: "auth",
            store: self.store.clone(),
            broker: self.broker.clone(),
            mailer: self.mailer.clone(),
            clock: self.clock.clone(),
        };
        Accounts::open(&self.config_with(settings), dependencies).await
    }

    /// The configuration with additional settings.
    pub fn config_with(&self, settings: &[(&str, &str)]) -> Config {
        config(&self.files, &self.settings, settings)
    }

    /// Attempts each due outbox message once, and returns their number.
    pub async fn run_once(&self) -> usize {
        self.accounts.relay().run_once().await.expect("a store that works")
    }

    pub async fn send_code(&self, address: &str) {
        let email = Email::parse(address).expect("an address");
        self.accounts.send_verification_code(email, &caller()).await.expect("sent");
    }

    /// Registers a login with the address `LOGIN@example.com`.
    pub async fn register(&self, login: &str) -> Account {
        let address = format!("{login}@example.com");
        self.send_code(&address).await;
        self.run_once().await;
        let mail = self.mailer.sent().pop().expect("a mail");
        let code = Secret::new(mail.code().expect("a code"));
        let email = Email::parse(&address).expect("an address");
        let verification = Verification { email, code };
        let verified = self.accounts.verify_email(verification, &caller()).await.expect("verified");
        let body = json!({
            "email": address,
            "login": login,
            "password": PASSWORD,
            "registrationToken": verified.registration_token.expose(),
        });
        let registration = Registration::from_body(body).expect("a valid body");
        self.accounts.register(registration, &caller()).await.expect("registered")
    }

    /// Signs in and returns the identity of the token.
    pub async fn owner(&self, login: &str) -> Identity {
        let tokens = self.sign_in(login, "cli").await;
        self.accounts.authenticate(tokens.auth_token.expose()).await.expect("valid")
    }

    pub async fn sign_in(&self, login: &str, client: &str) -> Tokens {
        let password = Secret::new(PASSWORD);
        self.accounts.sign_in(login, &password, client, &caller()).await.expect("signed in")
    }

    /// Receives the event of a deleted account.
    pub async fn next_deletion(&self) -> Uuid {
        let AccountDeleted::V1 { user_id, .. } = self.next_deletion_event().await;
        user_id
    }

    pub async fn next_deletion_event(&self) -> AccountDeleted {
        let mut consumer =
            self.broker.consume(Queue::AccountDeletions, 1).await.expect("a consumer");
        let delivery = consumer.next().await.expect("a message");
        let event = delivery.message.decode().expect("a deletion");
        delivery.ack().await;
        event
    }
}

fn config(files: &TempDir, common: &[(&str, String)], settings: &[(&str, &str)]) -> Config {
    let directory = files.path().display().to_string();
    let common = common.iter().map(|(name, value)| (*name, value.as_str()));
    let common = common.chain([
        ("MINIAPP__DATA_DIR", directory.as_str()),
        ("MINIAPP__DATABASE__SYNCHRONOUS", "normal"),
    ]);
    let settings = common.chain(settings.iter().copied());
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::load_from(None, settings).expect("a configuration")
}

pub fn caller() -> Caller {
    Caller::default()
}

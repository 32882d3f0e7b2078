//! Mail through a real SMTP server, decoded as its recipient sees it.

mod replies;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_accounts::mail::{Mail, MailError, Mailer};
use miniapp_accounts::{Accounts, Caller, Dependencies, Email, open_mailer, open_store};
use miniapp_broker::MemoryBroker;
use miniapp_config::Config;
use miniapp_runtime::clock::{Clock as _, ManualClock};
use miniapp_test_support::smtp::{Encryption, Fault, Options, Server, Stage, USER};
use tempfile::TempDir;
use tokio::sync::broadcast;
use uuid::Uuid;

/// User and password, percent-encoded.
const CREDENTIALS: &str = "ada%40example.com:p%40ss%2Fw%3Ard@";
const CODE: &str = "048213";

/// A mailer, and accounts that use it.
struct Sender {
    config: Config,
    mailer: Arc<dyn Mailer>,
    accounts: Accounts,
    clock: Arc<ManualClock>,
    _files: TempDir,
}

impl Sender {
    /// Sends to `url`, with a timeout of one second.
    async fn to(url: &str) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let directory = files.path().display().to_string();
        let settings = [
            ("MINIAPP__DATA_DIR", directory.as_str()),
            ("MINIAPP__DATABASE__SYNCHRONOUS", "normal"),
            ("MINIAPP__MAIL__URL", url),
            ("MINIAPP__MAIL__FROM", "Gr\u{fc}\u{df}e MiniApp <no-reply@miniapp.example>"),
            ("MINIAPP__MAIL__TIMEOUT", "1s"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load_from(None, settings).expect("a configuration");
        let clock = Arc::new(ManualClock::default());
        let store = open_store(&config.section().expect("a section")).await.expect("a store");
        let (watchers, _) = broadcast::channel(1);
        let mailer = open_mailer(
            &config.section().expect("a section"),
            store.clone(),
            clock.clone(),
            watchers,
        );
        let mailer = mailer.expect("a mailer");
        let broker = Arc::new(MemoryBroker::new());
        let parts = Dependencies {
            service: "auth",
            store,
            broker,
            mailer: mailer.clone(),
            clock: clock.clone(),
        };
        let accounts = Accounts::open(&config, parts).await.expect("accounts");
        Self { config, mailer, accounts, clock, _files: files }
    }

    /// Sends without TLS and credentials.
    async fn plain(server: &Server) -> Self {
        Self::to(&url("smtp", server.address(), "", "")).await
    }

    async fn send(&self) -> Result<(), MailError> {
        self.mailer.send(&mail("bob@example.com")).await
    }

    /// Returns the reason of a temporary failure.
    async fn temporary_failure(&self) -> String {
        match self.send().await {
            Err(MailError::Temporary(reason)) => one_line(reason),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the reason of a permanent failure.
    async fn permanent_failure(&self) -> String {
        match self.send().await {
            Err(MailError::Permanent(reason)) => one_line(reason),
            other => panic!("{other:?}"),
        }
    }

    async fn request_code(&self) {
        let email = Email::parse("bob@example.com").expect("an address");
        self.accounts.send_verification_code(email, &Caller::default()).await.expect("a request");
    }

    /// Attempts each due message once, and returns their number.
    async fn run_outbox(&self) -> usize {
        self.accounts.relay().run_once().await.expect("a pass")
    }
}

fn one_line(reason: String) -> String {
    assert_eq!(reason.lines().count(), 1, "{reason}");
    reason
}

fn url(scheme: &str, address: SocketAddr, credentials: &str, query: &str) -> String {
    format!("{scheme}://{credentials}localhost:{}{query}", address.port())
}

fn trusting(server: &Server) -> String {
    format!("?cacertfile={}", server.ca_certificate().display())
}

fn mail(to: &str) -> Mail {
    Mail {
        id: Uuid::new_v4(),
        to: to.to_owned(),
        subject: "Your code, sch\u{f6}n".to_owned(),
        text: format!("Hello,\n\n.\n..a line with dots\n    {CODE}\n\nGr\u{fc}\u{df}e\n"),
        html: format!("<p>Gr\u{fc}\u{df}e</p>\n.\n<strong>{CODE}</strong>\n"),
    }
}

async fn server(options: Options) -> Server {
    Server::start(options).await.expect("a server")
}

async fn simple_server() -> Server {
    server(Options::default()).await
}

#[tokio::test]
async fn mail_arrives_intact() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    let sent = mail("bob@example.com");
    sender.mailer.send(&sent).await.expect("sent");
    let [mail] = server.mails().try_into().expect("one mail");
    assert_eq!(mail.sender, "no-reply@miniapp.example");
    assert_eq!(mail.recipients, ["bob@example.com"]);
    let name = Some("Gr\u{fc}\u{df}e MiniApp".to_owned());
    assert_eq!(mail.from, (name, "no-reply@miniapp.example".to_owned()));
    assert_eq!((mail.to.as_str(), &mail.subject), ("bob@example.com", &sent.subject));
    assert_eq!(mail.message_id, format!("{}@miniapp.example", sent.id));
    assert_eq!(mail.date, sender.clock.now().as_second());
    assert_eq!(mail.parts, ["multipart/alternative", "text/plain", "text/html"]);
    assert_eq!(
        (mail.text.as_str(), mail.html.as_str()),
        (sent.text.trim_end(), sent.html.trim_end())
    );
    assert!(mail.raw.is_ascii() && mail.raw.lines().all(|line| line.len() <= 998));
}

#[tokio::test]
async fn tls_modes_and_auth_mechanisms_work() {
    let (none, starttls, implicit) = (Encryption::None, Encryption::StartTls, Encryption::Implicit);
    for (scheme, encryption, mechanisms, query) in [
        ("smtp", none, "", ""),
        ("smtp", none, "PLAIN", "?tls=none"),
        ("smtp", starttls, "", ""),
        ("smtp", starttls, "PLAIN LOGIN", ""),
        ("smtp", starttls, "LOGIN", "&tls=required"),
        ("smtps", implicit, "", ""),
        ("smtps", implicit, "LOGIN", ""),
    ] {
        let case = format!("{scheme} {encryption:?} {mechanisms} {query}");
        let server = server(Options { encryption, mechanisms, ..Options::default() }).await;
        let credentials = if mechanisms.is_empty() { "" } else { CREDENTIALS };
        let query = if encryption == none { query.to_owned() } else { trusting(&server) + query };
        let sender = Sender::to(&url(scheme, server.address(), credentials, &query)).await;
        sender.mailer.ping().await.expect(&case);
        sender.send().await.expect(&case);
        let [mail] = server.mails().try_into().expect("one mail");
        assert_eq!(mail.is_encrypted, encryption != none, "{case}");
        assert_eq!(mail.user.as_deref(), (!mechanisms.is_empty()).then_some(USER), "{case}");
        assert_eq!(server.connections(), 1, "{case}");
        assert!(!format!("{:?}", sender.config).contains("p%40ss"), "{case}");
    }
}

#[tokio::test]
async fn connections_are_limited_and_reused() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    for _ in 0..3 {
        sender.send().await.expect("sent");
    }
    assert_eq!(server.connections(), 1);
    let sent = join_all((0..20).map(|_| sender.send())).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!(server.mails().len(), 23);
    assert!(server.connections() <= 4, "{}", server.connections());
}

#[tokio::test]
async fn temporary_rejections_are_retried() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    for stage in [Stage::Sender, Stage::Recipient, Stage::Content] {
        server.fail(stage, Fault::Reply("451 4.3.0 try again"));
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("451 4.3.0 try again"), "{stage:?}: {reason}");
    }
    server.recover();
    sender.send().await.expect("sent");
    assert_eq!(server.connections(), 1);
    // Errors of the configuration are temporary, whatever the code.
    for line in ["550 5.7.1 <no-reply@miniapp.example> is not yours", "530 5.7.0 sign in"] {
        server.fail(Stage::Sender, Fault::Reply(line));
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("mail.from") && !reason.contains('@'), "{reason}");
    }
    server.fail(Stage::Recipient, Fault::Reply("530 5.7.0 sign in"));
    sender.temporary_failure().await;
    server.fail(Stage::Connect, Fault::Reply("421 too busy"));
    let other = Sender::plain(&server).await;
    assert!(other.temporary_failure().await.contains("421 too busy"));
}

#[tokio::test]
async fn permanent_rejections_omit_address_and_code() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    server.fail(Stage::Recipient, Fault::Reply("550 5.1.1 <bob@example.com>: no such user"));
    let reason = sender.permanent_failure().await;
    assert!(reason.contains("the recipient: 550 5.1.1 [address] no such user"), "{reason}");
    server.fail(Stage::Content, Fault::Reply("554 5.7.1 we don't like 048213"));
    let reason = sender.permanent_failure().await;
    assert!(reason.contains("554 5.7.1 we don't like [hidden]"), "{reason}");
    assert_eq!(server.mails(), []);
}

#[tokio::test]
async fn timeout_affects_one_mail_only() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    sender.send().await.expect("sent");
    for stage in [Stage::Sender, Stage::Recipient, Stage::Content] {
        server.fail(stage, Fault::Hang);
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("timed out"), "{stage:?}: {reason}");
        server.recover();
        sender.send().await.expect("sent");
    }
    assert_eq!((server.mails().len(), server.connections()), (4, 4));
}

#[tokio::test]
async fn silent_server_delays_a_mail_by_the_timeout() {
    let options =
        Options { encryption: Encryption::StartTls, mechanisms: "LOGIN", ..Options::default() };
    let stages = [
        Stage::Connect,
        Stage::Hello,
        Stage::StartTls,
        Stage::Prompt,
        Stage::Auth,
        Stage::Sender,
        Stage::Recipient,
        Stage::Data,
        Stage::Content,
    ];
    join_all(stages.map(async |stage| {
        let server = server(options.clone()).await;
        server.fail(stage, Fault::Hang);
        let url = url("smtp", server.address(), CREDENTIALS, &trusting(&server));
        let sender = Sender::to(&url).await;
        let began = std::time::Instant::now();
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("timed out"), "{stage:?}: {reason}");
        assert!(began.elapsed() < Duration::from_secs(3), "{stage:?}: {:?}", began.elapsed());
        server.recover();
        sender.send().await.expect("sent");
    }))
    .await;
}

#[tokio::test]
async fn silent_tls_handshake_delays_a_mail_by_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let sender = Sender::to(&url("smtps", address, CREDENTIALS, "")).await;
    let (reason, ping) = tokio::join!(sender.temporary_failure(), sender.mailer.ping());
    assert!(reason.contains("timed out") && ping.is_err(), "{reason}");
}

#[tokio::test]
async fn lost_reply_resends_mail_with_same_message_id() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    sender.request_code().await;
    server.fail(Stage::Content, Fault::HangUp);
    assert_eq!(sender.run_outbox().await, 1);
    server.recover();
    sender.clock.advance(Duration::from_secs(2));
    assert_eq!(sender.run_outbox().await, 1);
    let [first, second] = server.mails().try_into().expect("two mails");
    assert_eq!(first.message_id, second.message_id);
    assert_eq!(first.text, second.text);
}

#[tokio::test]
async fn outbox_abandons_permanent_and_retries_temporary_rejections() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    server.fail(Stage::Recipient, Fault::Reply("450 4.2.1 greylisted"));
    sender.request_code().await;
    assert_eq!((sender.run_outbox().await, sender.run_outbox().await), (1, 0));
    server.fail(Stage::Recipient, Fault::Reply("550 5.1.1 no such user"));
    sender.clock.advance(Duration::from_secs(2));
    assert_eq!(sender.run_outbox().await, 1);
    server.recover();
    sender.clock.advance(Duration::from_mins(5));
    assert_eq!((sender.run_outbox().await, server.mails().len()), (0, 0));
}

#[tokio::test]
async fn server_outages_are_survived() {
    let server = simple_server().await;
    let address = server.address();
    drop(server);
    let sender = Sender::to(&url("smtp", address, "", "")).await;
    assert!(sender.mailer.ping().await.is_err());
    sender.request_code().await;
    assert_eq!(sender.run_outbox().await, 1);
    let start = || async { Server::start_at(address, Options::default()).await };
    let server = start().await.expect("a server");
    sender.mailer.ping().await.expect("it is there");
    sender.clock.advance(Duration::from_secs(2));
    assert_eq!(sender.run_outbox().await, 1);
    let [mail] = server.mails().try_into().expect("one mail");
    assert_eq!(mail.subject, "Your MiniApp verification code");
    // The idle connection is dead.
    drop(server);
    sender.temporary_failure().await;
    let server =
        miniapp_test_support::eventually("the port is free", async || start().await.ok()).await;
    sender.send().await.expect("sent");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn wrong_credentials_back_off() {
    let options = Options { mechanisms: "PLAIN", ..Options::default() };
    let server = server(options).await;
    let sender = Sender::to(&url("smtp", server.address(), "eve:s3cr3t@", "?tls=none")).await;
    for _ in 0..3 {
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("user and password of mail.url (535)"), "{reason}");
        assert!(!reason.contains("s3cr3t") && sender.mailer.ping().await.is_err(), "{reason}");
    }
    assert_eq!((server.auth_attempts(), server.connections()), (1, 1));
    let sender = Sender::to(&url("smtp", server.address(), "", "")).await;
    assert!(sender.temporary_failure().await.contains("530 5.7.0 sign in first"));
}

#[tokio::test]
async fn tls_mismatch_is_reported() {
    let options = |encryption| Options { encryption, ..Options::default() };
    let plain = server(options(Encryption::None)).await;
    let offering = server(options(Encryption::StartTls)).await;
    let tls = server(options(Encryption::Implicit)).await;
    for (server, scheme, credentials, query, expected) in [
        (&offering, "smtp", "", "", "certificate"),
        (&tls, "smtps", "", "", "certificate"),
        (&plain, "smtps", "", "", "smtps:// requires a port with implicit TLS"),
        (&plain, "smtp", CREDENTIALS, "", "doesn't offer STARTTLS"),
        (&plain, "smtp", "", "?tls=required", "doesn't offer STARTTLS"),
        (&tls, "smtp", "", "", "a port with implicit TLS requires smtps://"),
    ] {
        let url = url(scheme, server.address(), credentials, query);
        let reason = Sender::to(&url).await.temporary_failure().await;
        assert!(reason.contains(expected), "{url}: {reason}");
    }
}

#[tokio::test]
async fn international_addresses_work() {
    for smtputf8 in [true, false] {
        let server = server(Options { smtputf8, ..Options::default() }).await;
        let sender = Sender::plain(&server).await;
        // Every server accepts an encoded domain.
        sender.mailer.send(&mail("bob@b\u{fc}cher.example")).await.expect("sent");
        assert_eq!(server.mails()[0].recipients, ["bob@xn--bcher-kva.example"]);
        let sent = sender.mailer.send(&mail("b\u{f6}b@example.com")).await;
        if smtputf8 {
            sent.expect("sent");
            assert_eq!(server.mails()[1].recipients, ["b\u{f6}b@example.com"]);
        } else {
            assert!(matches!(sent, Err(MailError::Permanent(_))), "{sent:?}");
        }
    }
}

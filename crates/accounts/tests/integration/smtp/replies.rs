//! Replies that deviate from the protocol.

use std::time::Instant;

use miniapp_accounts::mail::MailError;
use miniapp_test_support::eventually;
use miniapp_test_support::smtp::{Encryption, Fault, Options, Stage};

use super::{CREDENTIALS, Sender, server, simple_server, trusting, url};

/// Shorter than the timeout of a mail.
const PROMPTLY: std::time::Duration = std::time::Duration::from_millis(900);

#[tokio::test]
async fn only_the_code_of_a_reply_counts() {
    for (stage, reply) in [
        (Stage::Connect, &b"220\r\n"[..]),
        (Stage::Connect, b"220 caf\xe9 \xff\r\n"),
        (Stage::Connect, b"220-welcome\r\n220-\xe9\r\n220\r\n"),
        (Stage::Hello, b"250\r\n"),
        (Stage::Hello, b"250-caf\xe9\r\n250-auth login\r\n250\r\n"),
        (Stage::Prompt, b"334\r\n"),
        (Stage::Prompt, b"334 not base64\xff\r\n"),
        (Stage::Auth, b"235\r\n"),
        (Stage::Sender, b"250\n"),
        (Stage::Recipient, b"251\r\n"),
        (Stage::Data, b"354\r\n"),
        (Stage::Data, b"354 \xff\r\n"),
        (Stage::Content, b"250\r\n"),
        (Stage::Content, b"250 2.0.0 caf\xe9\r\n"),
        (Stage::Content, b"250-one\r\n250-\r\nno code\r\n250 two\r\n"),
    ] {
        let case = format!("{stage:?} {reply:?}");
        let has_auth = stage == Stage::Prompt || stage == Stage::Auth;
        let mechanisms = if has_auth { "LOGIN" } else { "" };
        let server = server(Options { mechanisms, ..Options::default() }).await;
        server.fail(stage, Fault::Bytes(reply));
        let (credentials, query) = if has_auth { (CREDENTIALS, "?tls=none") } else { ("", "") };
        let sender = Sender::to(&url("smtp", server.address(), credentials, query)).await;
        for _ in 0..2 {
            sender.send().await.expect(&case);
        }
        assert_eq!((server.mails().len(), server.connections()), (2, 1), "{case}");
    }
}

#[tokio::test]
async fn mail_with_an_unusual_reply_is_sent_once() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    server.fail(Stage::Content, Fault::Bytes(b"250 \xff\r\n"));
    sender.request_code().await;
    assert_eq!(sender.run_outbox().await, 1);
    sender.clock.advance(std::time::Duration::from_mins(5));
    assert_eq!((sender.run_outbox().await, server.mails().len()), (0, 1));
}

#[tokio::test]
async fn unusual_rejections_are_rejections() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    for reply in [&b"550\r\n"[..], b"550 \xff\r\n", b"550-a\r\n550\r\n", b"250-no\r\n550 no\r\n"] {
        server.fail(Stage::Recipient, Fault::Bytes(reply));
        assert!(sender.permanent_failure().await.contains("550"), "{reply:?}");
    }
    assert_eq!((server.mails().len(), server.connections()), (0, 1));
}

#[tokio::test]
async fn plaintext_after_starttls_is_an_error() {
    for reply in [
        &b"220 go\r\n250 localhost\r\n"[..],
        b"220 go\r\n250-localhost\r\n250 AUTH PLAIN\r\n250 OK\r\n250 OK\r\n354 go\r\n250 OK\r\n",
        b"220 go\r\n\r\n",
        b"220 go\n2",
    ] {
        let encryption = Encryption::StartTls;
        let server = server(Options { encryption, mechanisms: "PLAIN", smtputf8: true }).await;
        server.fail(Stage::StartTls, Fault::Bytes(reply));
        let url = url("smtp", server.address(), CREDENTIALS, &trusting(&server));
        let sender = Sender::to(&url).await;
        let reason = sender.temporary_failure().await;
        assert!(reason.contains("STARTTLS") && reason.contains("without a command"), "{reason}");
        assert_eq!((server.mails(), server.auth_attempts()), (Vec::new(), 0));
        server.recover();
        sender.send().await.expect("sent");
    }
}

#[tokio::test]
async fn rejected_starttls_sends_nothing_in_plaintext() {
    let encryption = Encryption::StartTls;
    let server = server(Options { encryption, ..Options::default() }).await;
    server.fail(Stage::StartTls, Fault::Reply("454 not now"));
    let sender = Sender::to(&url("smtp", server.address(), "", &trusting(&server))).await;
    assert!(sender.temporary_failure().await.contains("STARTTLS"));
    assert_eq!(server.mails(), []);
}

#[tokio::test]
async fn replies_are_attributed_to_their_commands() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    for (stage, reply) in [
        (Stage::Sender, &b"250 OK\r\n250 OK\r\n"[..]),
        (Stage::Recipient, b"250 OK\r\n354 go\r\n250 OK\r\n"),
        (Stage::Recipient, b"354 go\r\n"),
        (Stage::Data, b"250 OK\r\n"),
        (Stage::Content, b"354 go\r\n"),
        (Stage::Content, b"150 wait\r\n"),
        (Stage::Content, b"2500 OK\r\n"),
        (Stage::Content, b"OK\r\n"),
    ] {
        server.fail(stage, Fault::Bytes(reply));
        let sent = sender.send().await;
        assert!(matches!(sent, Err(MailError::Temporary(_))), "{stage:?} {reply:?}: {sent:?}");
    }
    // A surplus reply is not taken for that to the next mail.
    server.fail(Stage::Content, Fault::Bytes(b"250 queued\r\n250 OK\r\n"));
    sender.send().await.expect("sent");
    server.fail(Stage::Recipient, Fault::Reply("550 no such user"));
    sender.permanent_failure().await;
}

#[tokio::test]
async fn endless_reply_ends_the_connection() {
    let server = simple_server().await;
    let sender = Sender::plain(&server).await;
    for stage in [Stage::Connect, Stage::Hello, Stage::Recipient, Stage::Content] {
        for part in [&b"250-more\r\n"[..], b"x", b"250 ", b"250-\xff\n"] {
            server.fail(stage, Fault::Endless(part));
            let began = Instant::now();
            let reason = sender.temporary_failure().await;
            assert!(began.elapsed() < PROMPTLY, "{stage:?} {part:?}: {:?}", began.elapsed());
            assert!(reason.contains("longer than 64 KiB"), "{stage:?} {part:?}: {reason}");
            let closed = async || (server.open_connections() == 0).then_some(());
            eventually("the connection is closed", closed).await;
        }
    }
    server.recover();
    sender.send().await.expect("sent");
}

//! Whoever asks about a name can't tell by the work that it takes whether there is an
//! account: the store is left with the same changes.

use miniapp_config::Database;
use std::time::Duration;

use miniapp_accounts::requests::{ResetConfirmation, Verification};
use miniapp_accounts::{Accounts, Email};
use miniapp_types::account::Secret;
use miniapp_types::fields::FromFields as _;
use miniapp_types::problem::Code;
use serde_json::json;
use sqlx::sqlite::SqlitePool;

use crate::support::{PASSWORD, Platform, caller};

const KNOWN: &str = "ada@example.com";
const UNKNOWN: &str = "bob@example.com";

/// A platform with the account of one of the two, who haven't been sent anything lately.
async fn platform() -> Platform {
    let platform = Platform::new().await;
    platform.register("ada").await;
    platform.clock.advance(Duration::from_mins(2));
    platform
}

/// What the store has of an address, and how much of everything.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    /// Whether a code is kept for each purpose, and how often one was tried.
    codes: Vec<(String, bool, i64)>,
    messages: i64,
    failures: i64,
    entries: i64,
}

impl Traces {
    async fn of(platform: &Platform, address: &str) -> Self {
        let database: Database = platform.config.section().expect("a section");
        let pool = SqlitePool::connect(database.url.expose()).await;
        let pool = pool.expect("a store");
        // Without the one that the account was registered with.
        let codes = "SELECT purpose, mac IS NOT NULL, tries FROM codes WHERE email = ? AND \
                     sent_at > (SELECT min(created_at) FROM accounts) ORDER BY purpose";
        let codes = sqlx::query_as(codes).bind(address).fetch_all(&pool).await;
        let count = async |query| -> i64 {
            sqlx::query_scalar(query).fetch_one(&pool).await.expect("a number")
        };
        Self {
            codes: codes.expect("codes"),
            messages: count("SELECT count(*) FROM duties").await,
            failures: count("SELECT count(*) FROM sign_in_failures").await,
            entries: count("SELECT count(*) FROM audit").await,
        }
    }

    /// What `action` leaves on a platform of its own.
    async fn left(address: &str, action: impl AsyncFn(&Accounts, Email)) -> Self {
        let platform = platform().await;
        let email = Email::parse(address).expect("an address");
        action(&platform.accounts, email).await;
        Self::of(&platform, address).await
    }
}

/// Does the same to both addresses.
async fn both(action: impl AsyncFn(&Accounts, Email)) -> Traces {
    let known = Traces::left(KNOWN, &action).await;
    assert_eq!(known, Traces::left(UNKNOWN, &action).await);
    known
}

async fn try_verification(accounts: &Accounts, email: Email) {
    let verification = Verification { email, code: Secret::new("wrong") };
    let refused = accounts.verify_email(verification, &caller()).await.expect_err("refused");
    assert_eq!(refused.code(), Some(Code::CodeInvalid));
}

async fn try_reset(accounts: &Accounts, email: Email) {
    let body = json!({"email": email.as_str(), "code": "wrong", "newPassword": PASSWORD});
    let confirmation = ResetConfirmation::from_body(body).expect("readable");
    let refused = accounts.confirm_reset(confirmation, &caller()).await.expect_err("refused");
    assert_eq!(refused.code(), Some(Code::CodeInvalid));
}

#[tokio::test]
async fn codes_to_register_are_asked_for_and_tried_alike() {
    let left = both(async |accounts, email| {
        accounts.send_verification_code(email.clone(), &caller()).await.expect("sent");
        try_verification(accounts, email.clone()).await;
        try_verification(accounts, email).await;
    })
    .await;
    assert_eq!(left.codes, [("verification".to_owned(), true, 2)]);
    assert_eq!(left.messages, 1);
}

#[tokio::test]
async fn codes_to_reset_a_password_are_asked_for_and_tried_alike() {
    let left = both(async |accounts, email| {
        accounts.request_reset(email.clone(), &caller()).await.expect("sent");
        try_reset(accounts, email.clone()).await;
        try_reset(accounts, email).await;
    })
    .await;
    assert_eq!(left.codes, [("reset".to_owned(), true, 2)]);
    assert_eq!(left.messages, 1);
}

#[tokio::test]
async fn a_mail_that_is_withheld_is_done_without_being_sent() {
    let platform = platform().await;
    let before = platform.mailer.sent().len();
    for (address, sent) in [(UNKNOWN, 0), (KNOWN, 1)] {
        let email = Email::parse(address).expect("an address");
        platform.accounts.request_reset(email, &caller()).await.expect("sent");
        assert_eq!(platform.run_once().await, 1);
        assert_eq!(platform.mailer.sent().len() - before, sent, "{address}");
        assert_eq!(Traces::of(&platform, address).await.messages, 0);
    }
}

#[tokio::test]
async fn sign_ins_fail_alike() {
    let left = both(async |accounts, email| {
        let login = email.as_str().split('@').next().expect("a name");
        for name in [login, email.as_str(), "@"] {
            let wrong = Secret::new("wrong");
            let refused = accounts.sign_in(name, &wrong, &caller()).await.expect_err("refused");
            assert_eq!(refused.code(), Some(Code::CredentialsInvalid));
        }
    })
    .await;
    assert_eq!(left.failures, 3);
}

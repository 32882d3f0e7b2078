//! Requests for known and unknown names leave the same changes in the store, so that they
//! take the same time.

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

/// A platform with an account for one of the two addresses, after their cooldown.
async fn platform() -> Platform {
    let platform = Platform::new().await;
    platform.register("ada").await;
    platform.clock.advance(Duration::from_mins(2));
    platform
}

/// What the store contains about an address, and the number of rows of each kind.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    /// For each purpose: whether there is a MAC, and the number of attempts.
    codes: Vec<(String, bool, i64)>,
    messages: i64,
    failures: i64,
    entries: i64,
}

impl Rows {
    async fn of(platform: &Platform, address: &str) -> Self {
        let database: Database = platform.config.section().expect("a section");
        let pool = SqlitePool::connect(database.url.expose()).await;
        let pool = pool.expect("a store");
        // Without the code that the account was registered with.
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

    /// Returns what `action` leaves on a new platform.
    async fn after(address: &str, action: impl AsyncFn(&Accounts, Email)) -> Self {
        let platform = platform().await;
        let email = Email::parse(address).expect("an address");
        action(&platform.accounts, email).await;
        Self::of(&platform, address).await
    }
}

/// Asserts that `action` leaves the same rows for both addresses, and returns them.
async fn for_both(action: impl AsyncFn(&Accounts, Email)) -> Rows {
    let known = Rows::after(KNOWN, &action).await;
    assert_eq!(known, Rows::after(UNKNOWN, &action).await);
    known
}

async fn verify_with_wrong_code(accounts: &Accounts, email: Email) {
    let verification = Verification { email, code: Secret::new("wrong") };
    let error = accounts.verify_email(verification, &caller()).await.expect_err("rejected");
    assert_eq!(error.code(), Some(Code::CodeInvalid));
}

async fn reset_with_wrong_code(accounts: &Accounts, email: Email) {
    let body = json!({"email": email.as_str(), "code": "wrong", "newPassword": PASSWORD});
    let confirmation = ResetConfirmation::from_body(body).expect("a valid body");
    let error = accounts.confirm_reset(confirmation, &caller()).await.expect_err("rejected");
    assert_eq!(error.code(), Some(Code::CodeInvalid));
}

#[tokio::test]
async fn verification_leaves_same_rows_for_unknown_address() {
    let rows = for_both(async |accounts, email| {
        accounts.send_verification_code(email.clone(), &caller()).await.expect("sent");
        verify_with_wrong_code(accounts, email.clone()).await;
        verify_with_wrong_code(accounts, email).await;
    })
    .await;
    assert_eq!(rows.codes, [("verification".to_owned(), true, 2)]);
    assert_eq!(rows.messages, 1);
}

#[tokio::test]
async fn password_reset_leaves_same_rows_for_unknown_address() {
    let rows = for_both(async |accounts, email| {
        accounts.request_reset(email.clone(), &caller()).await.expect("sent");
        reset_with_wrong_code(accounts, email.clone()).await;
        reset_with_wrong_code(accounts, email).await;
    })
    .await;
    assert_eq!(rows.codes, [("reset".to_owned(), true, 2)]);
    assert_eq!(rows.messages, 1);
}

#[tokio::test]
async fn withheld_mail_is_finished_without_being_sent() {
    let platform = platform().await;
    let before = platform.mailer.sent().len();
    for (address, sent) in [(UNKNOWN, 0), (KNOWN, 1)] {
        let email = Email::parse(address).expect("an address");
        platform.accounts.request_reset(email, &caller()).await.expect("sent");
        assert_eq!(platform.run_once().await, 1);
        assert_eq!(platform.mailer.sent().len() - before, sent, "{address}");
        assert_eq!(Rows::of(&platform, address).await.messages, 0);
    }
}

#[tokio::test]
async fn failed_sign_in_leaves_same_rows_for_unknown_login() {
    let rows = for_both(async |accounts, email| {
        let login = email.as_str().split('@').next().expect("a name");
        for name in [login, email.as_str(), "@"] {
            let wrong = Secret::new("wrong");
            let error =
                accounts.sign_in(name, &wrong, "cli", &caller()).await.expect_err("rejected");
            assert_eq!(error.code(), Some(Code::CredentialsInvalid));
        }
    })
    .await;
    assert_eq!(rows.failures, 3);
}

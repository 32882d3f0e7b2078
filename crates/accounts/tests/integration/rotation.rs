//! Replacing the secret and the signing keys while processes run.

use std::time::Duration;

use miniapp_accounts::audit::Action;
use miniapp_accounts::requests::{ResetConfirmation, Verification};
use miniapp_accounts::{Accounts, Email, KeyRotation, grant_admin, rotate_keys};
use miniapp_runtime::clock::SystemClock;
use miniapp_token::key_of_event;
use miniapp_types::account::Secret;
use miniapp_types::fields::FromFields as _;
use miniapp_types::message::AccountDeleted;
use miniapp_types::problem::Code;
use serde_json::json;

use crate::support::{PASSWORD, Platform, caller};

const OLD: &str = "the old one, for-development-only";
const NEW: &str = "the new one, for-development-only";
const CURRENT: &str = "MINIAPP__AUTH__SECRET";
const PREVIOUS: &str = "MINIAPP__AUTH__SECRET_PREVIOUS";
const ALLOWED: (&str, &str) = ("MINIAPP__AUTH__ALLOW_PUBLISHED_SECRET", "true");

const BEFORE: &[(&str, &str)] = &[(CURRENT, OLD)];
const PREPARED: &[(&str, &str)] = &[(CURRENT, OLD), (PREVIOUS, NEW)];
const ROTATED: &[(&str, &str)] = &[(CURRENT, NEW), (PREVIOUS, OLD)];
const AFTER: &[(&str, &str)] = &[(CURRENT, NEW)];

async fn platform(database: Option<String>) -> Platform {
    let database = database.map(|url| ("MINIAPP__DATABASE__URL", url));
    let settings = [(CURRENT, OLD.to_owned()), (ALLOWED.0, ALLOWED.1.to_owned())];
    Platform::with(settings.into_iter().chain(database).collect()).await
}

/// Delivers what is in the outbox, and returns the code in the last mail.
async fn delivered_code(platform: &Platform, accounts: &Accounts) -> Secret {
    accounts.relay().run_once().await.expect("a store that works");
    let mail = platform.mailer.sent().pop().expect("a mail");
    Secret::new(mail.code().expect("a code"))
}

async fn send_code(accounts: &Accounts, address: &str) {
    let email = Email::parse(address).expect("an address");
    accounts.send_verification_code(email, &caller()).await.expect("sent");
}

async fn verify(accounts: &Accounts, address: &str, code: Secret) -> Result<(), Option<Code>> {
    let email = Email::parse(address).expect("an address");
    let verified = accounts.verify_email(Verification { email, code }, &caller()).await;
    verified.map(drop).map_err(|error| error.code())
}

async fn reset(accounts: &Accounts, address: &str, code: &Secret) -> Result<(), Option<Code>> {
    let body = json!({ "email": address, "code": code.expose(), "newPassword": "seven lanterns" });
    let confirmation = ResetConfirmation::from_body(body).expect("a valid body");
    let reset = accounts.confirm_reset(confirmation, &caller()).await;
    reset.map_err(|error| error.code())
}

async fn sign_in(accounts: &Accounts) -> (String, Secret) {
    let tokens = accounts.sign_in("ada", &Secret::new(PASSWORD), "cli", &caller()).await;
    let tokens = tokens.expect("signed in");
    (tokens.auth_token.expose().to_owned(), tokens.refresh_token)
}

async fn rotate(platform: &Platform, compromised: bool) -> KeyRotation {
    let (store, clock) = (&*platform.store, &*platform.clock);
    rotate_keys(&platform.config, store, clock, compromised).await.expect("rotated")
}

async fn is_valid(accounts: &Accounts, token: &str) -> bool {
    match accounts.authenticate(token).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code(), Some(Code::TokenInvalid));
            false
        }
    }
}

async fn values_of_the_previous_secret_stay_valid(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let (access, refresh) = sign_in(&platform.accounts).await;
    send_code(&platform.accounts, "bob@example.com").await;
    let ada = Email::parse("ada@example.com").expect("an address");
    platform.accounts.request_reset(ada, &caller()).await.expect("sent");

    let refused = platform.replica(AFTER).await.expect_err("a key of another secret").to_string();
    assert!(refused.contains(PREVIOUS) && refused.contains(CURRENT), "{refused}");
    assert!(refused.lines().count() == 1 && !refused.contains(NEW), "{refused}");

    let rotated = platform.replica(ROTATED).await.expect("both secrets");
    assert!(is_valid(&rotated, &access).await);
    let refreshed = rotated.refresh(&refresh, &caller()).await.expect("refreshed");
    let access = refreshed.auth_token.expose();

    // The messages of the previous secret are sealed again once, and delivered.
    let stored = platform.store.outbox_payloads(uuid::Uuid::nil(), 100).await.expect("messages");
    assert_eq!(rotated.reseal_outbox().await.expect("sealed"), stored.len() as u64);
    assert_eq!(rotated.reseal_outbox().await.expect("sealed"), 0);

    // The keys were sealed again when the process started.
    let after = platform.replica(AFTER).await.expect("the new secret");
    assert!(is_valid(&after, access).await);
    let sent = platform.mailer.sent().len();
    assert_eq!(after.relay().run_once().await.expect("a store that works"), 2);
    let mails = platform.mailer.sent().split_off(sent);
    let code_for = |address: &str| {
        let mail = mails.iter().find(|mail| mail.to == address).expect("a mail");
        Secret::new(mail.code().expect("a code"))
    };
    // A code is checked with both secrets, while the previous one is known.
    let (bob, ada) = ("bob@example.com", "ada@example.com");
    assert_eq!(verify(&after, bob, code_for(bob)).await, Err(Some(Code::CodeInvalid)));
    assert_eq!(verify(&rotated, bob, code_for(bob)).await, Ok(()));
    assert_eq!(verify(&rotated, bob, code_for(bob)).await, Err(Some(Code::CodeInvalid)));
    assert_eq!(reset(&rotated, ada, &code_for(ada)).await, Ok(()));
    // The previous process reads no key of the new secret, and says so.
    let error = platform.accounts.maintain_keys().await.expect_err("another secret").to_string();
    assert!(error.contains(PREVIOUS), "{error}");
}

/// During a rolling update every process opens what the others have sealed.
async fn prepared_processes_work_beside_rotated_ones(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let prepared = platform.replica(PREPARED).await.expect("both secrets");
    let rotated = platform.replica(ROTATED).await.expect("both secrets");
    let pairs = [(&prepared, &rotated), (&rotated, &prepared)];
    for (number, (one, other)) in pairs.into_iter().enumerate() {
        let address = format!("user{number}@example.com");
        send_code(one, &address).await;
        let code = delivered_code(&platform, other).await;
        assert_eq!(verify(other, &address, code).await, Ok(()));
        let (token, _) = sign_in(one).await;
        assert!(is_valid(other, &token).await);
        one.maintain_keys().await.expect("keys");
        other.maintain_keys().await.expect("keys");
    }
    // The last one that starts decides.
    drop(prepared);
    rotated.maintain_keys().await.expect("keys");
    rotated.reseal_outbox().await.expect("sealed");
    platform.replica(AFTER).await.expect("the new secret");
}

async fn processes_that_start_together_seal_again_once(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let (access, _) = sign_in(&platform.accounts).await;
    let starts = (0..6).map(|_| async {
        let accounts = platform.replica(ROTATED).await.expect("both secrets");
        let count = accounts.reseal_outbox().await.expect("sealed");
        (is_valid(&accounts, &access).await, count)
    });
    platform
        .accounts
        .send_verification_code(Email::parse("bob@example.com").expect("an address"), &caller())
        .await
        .expect("sent");
    let started = futures_util::future::join_all(starts).await;
    assert!(started.iter().all(|(is_valid, _)| *is_valid));
    let resealed: u64 = started.iter().map(|(_, count)| count).sum();
    let stored = platform.store.outbox_payloads(uuid::Uuid::nil(), 100).await.expect("messages");
    assert_eq!(resealed, stored.len() as u64);
    let after = platform.replica(AFTER).await.expect("the new secret");
    assert!(is_valid(&after, &access).await);
}

async fn new_key_signs_when_verifiers_have_it(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let other = platform.replica(BEFORE).await.expect("a replica");
    let (old, _) = sign_in(&platform.accounts).await;
    let rotation = rotate(&platform, false).await;
    // Published at once, also by a process that has not read it on its own.
    let published = other.jwks().await.keys;
    assert_eq!(published.len(), 2);
    assert!(published.iter().any(|key| key.kid == rotation.kid));
    platform.accounts.maintain_keys().await.expect("keys");
    let kid = |token: &str| miniapp_token::UnverifiedToken::parse(token).expect("a token").kid;
    let (before, _) = sign_in(&platform.accounts).await;
    assert_eq!(kid(&before), kid(&old));

    platform.clock.advance(Duration::from_secs(90));
    let (new, _) = sign_in(&platform.accounts).await;
    assert_eq!(kid(&new), rotation.kid);
    for accounts in [&platform.accounts, &other] {
        assert!(is_valid(accounts, &new).await);
    }
    // The replaced key retires like every other, and the new one is followed on schedule.
    let retires_in = rotation.retires_at.duration_since(rotation.signs_from);
    assert_eq!(retires_in, jiff::SignedDuration::from_hours(24));
    assert_eq!(rotation.replaced.retiring, [kid(&old)]);
    platform.clock.advance(Duration::from_hours(24));
    platform.accounts.maintain_keys().await.expect("keys");
    assert_eq!(platform.accounts.jwks().await.keys.len(), 1);
    platform.clock.advance(Duration::from_hours(29 * 24));
    platform.accounts.maintain_keys().await.expect("keys");
    assert_eq!(platform.accounts.jwks().await.keys.len(), 2);

    let audit = platform.store.audit_log(None, 100).await.expect("entries");
    let name: &str = Action::RotateKeys.into();
    assert_eq!(audit.iter().filter(|entry| entry.action == name).count(), 1);
}

async fn tokens_of_compromised_keys_become_invalid(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let other = platform.replica(BEFORE).await.expect("a replica");
    let (old, refresh) = sign_in(&platform.accounts).await;
    let rotation = rotate(&platform, true).await;
    assert!(rotation.replaced.retiring.is_empty());
    assert_eq!(rotation.replaced.removed.len(), 1);
    platform.accounts.maintain_keys().await.expect("keys");
    assert!(!is_valid(&platform.accounts, &old).await);
    // The session goes on, with a token of the new key. Another process learns that key from it,
    // and loses the old one.
    let fresh = platform.accounts.refresh(&refresh, &caller()).await.expect("refreshed");
    assert!(is_valid(&other, fresh.auth_token.expose()).await);
    assert!(!is_valid(&other, &old).await);
    let published = other.jwks().await.keys;
    assert_eq!(published.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&rotation.kid]);
}

/// Consumers refuse an event that a removed key has signed.
async fn deletions_are_published_again_with_the_new_key(database: Option<String>) {
    let platform = platform(database).await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    platform.run_once().await;
    assert_eq!(platform.next_deletion().await, account.user_id);
    // The database records the time of the deletion.
    let (store, clock) = (&*platform.store, &SystemClock);
    rotate_keys(&platform.config, store, clock, false).await.expect("rotated");
    assert_eq!(platform.run_once().await, 0);
    let rotation = rotate_keys(&platform.config, store, clock, true).await.expect("rotated");
    // The process has not read the keys since.
    assert_eq!(platform.run_once().await, 1);
    let event = platform.next_deletion_event().await;
    assert_eq!(key_of_event(&event), Ok(rotation.kid));
    let AccountDeleted::V1 { user_id, .. } = event;
    assert_eq!(user_id, account.user_id);
}

/// A key or message that is sealed with another secret is of no use to the processes that run.
async fn administration_needs_the_secret_of_the_processes(database: Option<String>) {
    let platform = platform(database).await;
    platform.register("ada").await;
    let (store, clock) = (&*platform.store, &*platform.clock);
    let config = platform.config_with(AFTER);
    let refused = rotate_keys(&config, store, clock, true).await.expect_err("another secret");
    assert!(refused.to_string().contains(PREVIOUS), "{refused}");
    let refused = grant_admin(&config, store, clock, "ada").await.expect_err("another secret");
    assert!(refused.to_string().contains(PREVIOUS), "{refused}");
    assert_eq!(platform.accounts.jwks().await.keys.len(), 1);
    platform.accounts.maintain_keys().await.expect("keys");
    assert_eq!(platform.run_once().await, 0, "nothing was published");
    // With both secrets it works.
    rotate_keys(&platform.config_with(ROTATED), store, clock, false).await.expect("rotated");
}

macro_rules! cases {
    ([$(#[$attribute:meta])*] $database:ident:) => {};
    ([$(#[$attribute:meta])*] $database:ident: $case:ident $($rest:ident)*) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $case() {
            super::$case($database().await).await;
        }

        cases!([$(#[$attribute])*] $database: $($rest)*);
    };
}

macro_rules! all_cases {
    ($(#[$attribute:meta])* $database:ident) => {
        cases! {
            [$(#[$attribute])*] $database:
            values_of_the_previous_secret_stay_valid
            prepared_processes_work_beside_rotated_ones
            processes_that_start_together_seal_again_once
            new_key_signs_when_verifiers_have_it
            tokens_of_compromised_keys_become_invalid
            deletions_are_published_again_with_the_new_key
            administration_needs_the_secret_of_the_processes
        }
    };
}

mod sqlite {
    async fn database() -> Option<String> {
        None
    }

    all_cases!(database);
}

mod postgres {
    use miniapp_test_support::postgres::Server;

    async fn database() -> Option<String> {
        let url = Server::shared().await.database().await.expect("a database");
        Some(url.expose().to_owned())
    }

    all_cases!(
        #[ignore = "needs PostgreSQL"]
        database
    );
}

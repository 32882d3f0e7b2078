//! Accounts.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use jiff::civil::date;
use miniapp_accounts::audit::Action;
use miniapp_accounts::code::Purpose;
use miniapp_accounts::operations::{
    AccountChanges, DeleteAccount, RegisterOutcome, SetRoles, UpdateAccount, UpdateOutcome,
};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::Identifier;
use miniapp_accounts::{LoginKey, Store};
use miniapp_types::account::{Account, Role};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::{
    at, claim_messages, email, entry, epoch, issue, login, new_account, open, outbox_row, register,
    registration_token, verification, verify,
};

pub async fn registered_account_is_found_by_id_login_and_email(
    store: Arc<dyn Store>,
) -> Result<()> {
    verify(&*store, "ada@example.com", 0).await?;
    let mut new = new_account("Ada.L", "ada@example.com", 1)?;
    new.account.birth_date = Some(date(1815, 12, 10));
    new.account.phone_number = Some("+44 20 7946 0000".to_owned());
    new.account.roles = vec![Role::User, Role::Admin];
    let expected = Account {
        user_id: new.account.user_id,
        login: "Ada.L".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: vec![Role::User, Role::Admin],
        birth_date: Some(date(1815, 12, 10)),
        phone_number: Some("+44 20 7946 0000".to_owned()),
        created_at: at(1),
        disabled: false,
    };
    let registered = store.transact(&new).await?;
    ensure!(registered == RegisterOutcome::Registered(expected.clone()), "{registered:?}");
    let found = store.account(expected.user_id).await?;
    ensure!(found.as_ref() == Some(&expected), "by id: {found:?}");
    for of in [
        Identifier::Login(login("ADA.l")?.key().clone()),
        Identifier::Email(email("ADA@example.com")?),
    ] {
        let found = store.credentials(&of).await?.with_context(|| format!("{of:?}"))?;
        ensure!(found.account == expected, "{of:?}: {found:?}");
        ensure!(found.password.as_str() == "hash of Ada.L", "wrong password");
    }
    ensure!(store.account(Uuid::nil()).await?.is_none(), "found an account that does not exist");
    let nobody = Identifier::Login(LoginKey::of("nobody"));
    ensure!(store.credentials(&nobody).await?.is_none(), "found credentials that do not exist");
    Ok(())
}

pub async fn verification_allows_one_registration(store: Arc<dyn Store>) -> Result<()> {
    let early = store.transact(&new_account("ada", "ada@example.com", 0)?).await?;
    ensure!(early == RegisterOutcome::EmailNotVerified, "{early:?}");
    register(&*store, "ada", 0).await?;
    let again = store.transact(&new_account("bob", "ada@example.com", 1)?).await?;
    ensure!(again == RegisterOutcome::EmailNotVerified, "{again:?}");
    verify(&*store, "ada@example.com", 60).await?;
    let taken = store.transact(&new_account("bob", "ada@example.com", 61)?).await?;
    ensure!(taken == RegisterOutcome::EmailTaken, "{taken:?}");
    Ok(())
}

pub async fn registration_needs_token_of_verification(store: Arc<dyn Store>) -> Result<()> {
    verify(&*store, "ada@example.com", 0).await?;
    let mut foreign = new_account("eve", "ada@example.com", 1)?;
    for token in ["bob@example.com", ""] {
        foreign.token = registration_token(token);
        let rejected = store.transact(&foreign).await?;
        ensure!(rejected == RegisterOutcome::EmailNotVerified, "{rejected:?}");
    }
    // A second verification of the address replaces the token of the first.
    verify(&*store, "ada@example.com", 60).await?;
    let mut again = issue("ada@example.com", Purpose::Verification, 120, [8; 32])?;
    again.unregistered.code = Some([8; 32]);
    store.transact(&again).await?;
    let mut second = verification("ada@example.com", [8; 32], 121)?;
    second.token = registration_token("second");
    ensure!(store.transact(&second).await?, "not verified");
    let first = store.transact(&new_account("ada", "ada@example.com", 122)?).await?;
    ensure!(first == RegisterOutcome::EmailNotVerified, "{first:?} with a replaced token");
    let mut new = new_account("ada", "ada@example.com", 123)?;
    new.token = registration_token("second");
    let registered = store.transact(&new).await?;
    ensure!(matches!(registered, RegisterOutcome::Registered(_)), "{registered:?}");
    Ok(())
}

pub async fn verification_expires(store: Arc<dyn Store>) -> Result<()> {
    verify(&*store, "ada@example.com", 0).await?;
    let late = store.transact(&new_account("ada", "ada@example.com", 3600)?).await?;
    ensure!(late == RegisterOutcome::EmailNotVerified, "{late:?}");
    let in_time = store.transact(&new_account("ada", "ada@example.com", 3599)?).await?;
    ensure!(matches!(in_time, RegisterOutcome::Registered(_)), "{in_time:?}");
    Ok(())
}

pub async fn rejected_registration_changes_nothing(store: Arc<dyn Store>) -> Result<()> {
    register(&*store, "ada", 0).await?;
    verify(&*store, "bob@example.com", 1).await?;
    let entries = store.audit_log(None, 100).await?.len();
    let taken = store.transact(&new_account("ADA", "bob@example.com", 2)?).await?;
    ensure!(taken == RegisterOutcome::LoginTaken, "{taken:?}");
    ensure!(
        store.audit_log(None, 100).await?.len() == entries,
        "the rejection was recorded as a success"
    );
    let other = store.transact(&new_account("bob", "bob@example.com", 3)?).await?;
    ensure!(
        matches!(other, RegisterOutcome::Registered(_)),
        "the verification was consumed: {other:?}"
    );
    Ok(())
}

pub async fn confusable_login_is_taken(store: Arc<dyn Store>) -> Result<()> {
    register(&*store, "paypal", 0).await?;
    // Other cases, a digit for a letter, and Cyrillic letters.
    let confusable = ["PayPal", "paypa1", "paypaI", "\u{440}\u{430}\u{443}\u{440}\u{430}\u{4cf}"];
    for (index, name) in (1..).zip(confusable) {
        let address = format!("a{index}@example.com");
        verify(&*store, &address, index).await?;
        let taken = store.transact(&new_account(name, &address, index)?).await?;
        ensure!(taken == RegisterOutcome::LoginTaken, "{name}: {taken:?}");
    }
    register(&*store, "paypool", 10).await?;
    Ok(())
}

pub async fn concurrent_registrations_get_distinct_logins(store: Arc<dyn Store>) -> Result<()> {
    let mut attempts = tokio::task::JoinSet::new();
    for index in 0..8 {
        let address = format!("a{index}@example.com");
        verify(&*store, &address, index).await?;
        let (store, new) = (store.clone(), new_account("ada", &address, 10)?);
        attempts.spawn(async move { store.transact(&new).await });
    }
    let mut done = 0;
    for outcome in attempts.join_all().await {
        match outcome? {
            RegisterOutcome::Registered(_) => done += 1,
            RegisterOutcome::LoginTaken => {}
            other => bail!("{other:?}"),
        }
    }
    ensure!(done == 1, "{done} accounts have the login");
    Ok(())
}

pub async fn accounts_are_listed_newest_first(store: Arc<dyn Store>) -> Result<()> {
    for (index, name) in (0..).zip(["ada", "bob", "cyd", "dan"]) {
        register(&*store, name, index).await?;
    }
    let logins = |accounts: &[Account]| -> Vec<String> {
        accounts.iter().map(|account| account.login.clone()).collect()
    };
    let first = store.accounts(None, 3).await?;
    ensure!(logins(&first) == ["dan", "cyd", "bob"], "{:?}", logins(&first));
    let rest = store.accounts(first.last().map(|last| last.user_id), 3).await?;
    ensure!(logins(&rest) == ["ada"], "{:?}", logins(&rest));
    Ok(())
}

pub async fn account_update_changes_only_given_fields(store: Arc<dyn Store>) -> Result<()> {
    let account = register(&*store, "ada", 0).await?;
    let update = async |changes: AccountChanges| -> Result<Account> {
        let audit = entry(Action::UpdateAccount, 1).about(&account);
        let update = UpdateAccount { account: account.user_id, changes, audit: Some(audit) };
        match store.transact(&update).await? {
            UpdateOutcome::Updated(account) => Ok(account),
            other => bail!("{other:?}"),
        }
    };
    let birth_date = Some(Some(date(1815, 12, 10)));
    let changed = update(AccountChanges { birth_date, ..AccountChanges::default() }).await?;
    ensure!(changed == Account { birth_date: Some(date(1815, 12, 10)), ..account.clone() });
    let phone_number = Some(Some("+1 555 0100".to_owned()));
    let changed = update(AccountChanges { phone_number, ..AccountChanges::default() }).await?;
    ensure!(changed.birth_date.is_some() && changed.phone_number.is_some(), "{changed:?}");
    let birth_date = Some(None);
    let changed = update(AccountChanges { birth_date, ..AccountChanges::default() }).await?;
    ensure!(changed.birth_date.is_none() && changed.phone_number.is_some(), "{changed:?}");
    ensure!(store.account(account.user_id).await? == Some(changed), "the update was not stored");
    let audit = entry(Action::UpdateAccount, 2);
    let unknown = UpdateAccount {
        account: Uuid::nil(),
        changes: AccountChanges::default(),
        audit: Some(audit),
    };
    let unknown = store.transact(&unknown).await?;
    ensure!(unknown == UpdateOutcome::NotFound, "{unknown:?}");
    Ok(())
}

pub async fn changed_login_becomes_available(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 1).await?;
    let rename = async |account: &Account, name: &str| -> Result<UpdateOutcome> {
        let changes = AccountChanges { login: Some(login(name)?), ..AccountChanges::default() };
        let audit = entry(Action::UpdateAccount, 2).about(account);
        let update = UpdateAccount { account: account.user_id, changes, audit: Some(audit) };
        Ok(store.transact(&update).await?)
    };
    let taken = rename(&bob, "ADA").await?;
    ensure!(taken == UpdateOutcome::LoginTaken, "{taken:?}");
    let own = rename(&ada, "Ada").await?;
    ensure!(
        matches!(&own, UpdateOutcome::Updated(a) if a.login == "Ada"),
        "the account's own login in another case: {own:?}"
    );
    rename(&ada, "countess").await?;
    let free = rename(&bob, "ada").await?;
    ensure!(matches!(free, UpdateOutcome::Updated(_)), "still taken: {free:?}");
    let by_old = store.credentials(&Identifier::Login(LoginKey::of("bob"))).await?;
    ensure!(by_old.is_none(), "found by its previous login");
    Ok(())
}

pub async fn role_change_invalidates_access_tokens(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let session = open(&*store, &ada, "t", 1).await?;
    claim_messages(&*store, at(1), at(1000), 10).await?;
    let roles = [Role::User, Role::Admin];
    let set_roles = |account, seconds| SetRoles {
        account,
        roles: roles.to_vec(),
        event: outbox_row(OutboxKind::SessionsChanged, seconds),
        audit: entry(Action::SetRoles, seconds),
    };
    let change = set_roles(ada.user_id, 2);
    let changed = store.transact(&change).await?;
    ensure!(changed.is_ok_and(|account| account.roles == roles), "wrong roles");
    ensure!(epoch(&*store, session).await? == Some(2), "the old access token is still valid");
    let messages = claim_messages(&*store, at(2), at(1000), 10).await?;
    ensure!(messages.len() == 1 && messages[0].id == change.event.id, "{messages:?}");
    let unknown = store.transact(&set_roles(Uuid::nil(), 3)).await?;
    ensure!(unknown == Err(Code::UserNotFound), "{unknown:?}");
    ensure!(
        claim_messages(&*store, at(3), at(1000), 10).await?.is_empty(),
        "an event about an unknown account"
    );
    Ok(())
}

pub async fn deleted_account_is_gone(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let session = open(&*store, &ada, "t", 1).await?;
    claim_messages(&*store, at(1), at(1000), 10).await?;
    for expected in [Ok(vec![session]), Err(Code::UserNotFound)] {
        let delete = DeleteAccount {
            account: ada.user_id,
            now: at(2),
            event: outbox_row(OutboxKind::AccountDeleted, 2),
            notice: outbox_row(OutboxKind::Mail, 2),
            audit: entry(Action::DeleteAccount, 2).about(&ada),
        };
        let ended = store.transact(&delete).await?;
        ensure!(ended == expected, "{ended:?}");
    }
    ensure!(store.account(ada.user_id).await?.is_none(), "still there");
    ensure!(store.session(session).await?.is_none(), "its session is active");
    let messages = claim_messages(&*store, at(2), at(1000), 10).await?;
    let mut kinds: Vec<OutboxKind> = messages.iter().map(|message| message.kind).collect();
    kinds.sort_by_key(|kind| kind.name());
    ensure!(kinds == [OutboxKind::AccountDeleted, OutboxKind::Mail], "{messages:?}");
    // Login and address are available again.
    let next = register(&*store, "ada", 100).await?;
    ensure!(next.user_id != ada.user_id, "the same account");
    Ok(())
}

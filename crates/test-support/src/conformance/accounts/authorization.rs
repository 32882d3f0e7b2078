//! Operations on behalf of an access token.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::audit::Action;
use miniapp_accounts::operations::{Authorized, DeleteAccount, EndSession, SetRoles};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::{Identity, Store};
use miniapp_types::account::{Account, Role, Secret};
use miniapp_types::problem::Code;

use super::{at, entry, open, outbox_row, register, rotation};

/// Sets the roles of an account to `user` on behalf of an actor.
fn demotion(actor: &Identity, role: Option<Role>, target: &Account) -> Authorized<SetRoles> {
    let operation = SetRoles {
        account: target.user_id,
        roles: vec![Role::User],
        event: outbox_row(OutboxKind::SessionsChanged, 100),
        audit: entry(Action::SetRoles, 100),
    };
    Authorized { actor: actor.clone(), role, now: at(100), operation }
}

/// The owner of a token that expires after 900 seconds.
async fn sign_in(store: &dyn Store, account: &Account, token: &str) -> Result<Identity> {
    let session = open(store, account, token, 1).await?;
    let expires = at(900).as_second();
    Ok(Identity { account: account.clone(), session, epoch: 1, expires })
}

async fn rejection(store: &dyn Store, operation: &Authorized<SetRoles>) -> Result<Option<Code>> {
    Ok(store.transact(operation).await?.err())
}

pub async fn operation_needs_current_token_of_active_session(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let actor = sign_in(&*store, &ada, "t").await?;
    let mut change = demotion(&actor, None, &bob);
    ensure!(rejection(&*store, &change).await?.is_none(), "a valid token was rejected");
    change.now = at(900);
    let expired = rejection(&*store, &change).await?;
    ensure!(expired == Some(Code::TokenExpired), "{expired:?}");
    let foreign = Identity { account: bob.clone(), ..actor.clone() };
    let foreign = rejection(&*store, &demotion(&foreign, None, &bob)).await?;
    ensure!(foreign == Some(Code::TokenRevoked), "{foreign:?}");

    let notice = |_: &str| anyhow::Ok(outbox_row(OutboxKind::Mail, 2));
    store.transact(&rotation(&Secret::new("t"), 2, &notice)).await?;
    let replaced = rejection(&*store, &demotion(&actor, None, &bob)).await?;
    ensure!(replaced == Some(Code::TokenRevoked), "{replaced:?}");

    let next = Identity { epoch: 2, ..actor };
    ensure!(rejection(&*store, &demotion(&next, None, &bob)).await?.is_none(), "the next token");
    let (account, session) = (ada.user_id, next.session);
    let event = outbox_row(OutboxKind::SessionsChanged, 3);
    let audit = entry(Action::SignOut, 3);
    let end = EndSession { account, session, now: at(3), event, audit };
    ensure!(store.transact(&end).await?, "not ended");
    let entries = store.audit_log(None, 100).await?.len();
    let ended = rejection(&*store, &demotion(&next, None, &bob)).await?;
    ensure!(ended == Some(Code::TokenRevoked), "{ended:?}");
    let recorded = store.audit_log(None, 100).await?.len();
    ensure!(recorded == entries, "the rejection was recorded as a success");
    Ok(())
}

pub async fn operation_needs_role_when_it_runs(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let mut actor = sign_in(&*store, &ada, "t").await?;
    // What the request knew when it was authenticated does not count.
    actor.account.roles = vec![Role::User, Role::Admin];
    let forbidden = rejection(&*store, &demotion(&actor, Some(Role::Admin), &bob)).await?;
    ensure!(forbidden == Some(Code::Forbidden), "{forbidden:?}");
    let mut promote = demotion(&actor, None, &ada);
    promote.operation.roles = vec![Role::User, Role::Admin];
    ensure!(rejection(&*store, &promote).await?.is_none(), "not promoted");
    // The promotion replaced the token.
    actor.epoch = 2;
    let allowed = rejection(&*store, &demotion(&actor, Some(Role::Admin), &bob)).await?;
    ensure!(allowed.is_none(), "{allowed:?}");
    Ok(())
}

pub async fn operation_of_deleted_account_is_rejected(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let actor = sign_in(&*store, &ada, "t").await?;
    let delete = DeleteAccount {
        account: ada.user_id,
        now: at(2),
        event: outbox_row(OutboxKind::AccountDeleted, 2),
        notice: outbox_row(OutboxKind::Mail, 2),
        audit: entry(Action::DeleteAccount, 2),
    };
    ensure!(store.transact(&delete).await?.is_ok(), "not deleted");
    let rejected = rejection(&*store, &demotion(&actor, None, &bob)).await?;
    ensure!(rejected == Some(Code::TokenRevoked), "{rejected:?}");
    Ok(())
}

//! Names of accounts that the previous release has stored.

use async_trait::async_trait;

use crate::email::Email;
use crate::login::LoginKey;
use crate::store::{Operation, Outcome, Transaction, TxResult, UnfoldedAccount};

/// Stores the comparable forms of an account's names. A name that is taken by another account
/// stays without: then the account is found by its exact spelling only.
#[derive(Clone, Debug)]
pub struct FoldNames(pub UnfoldedAccount);

/// Which names are taken by another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenNames {
    pub login: bool,
    pub email: bool,
}

#[async_trait]
impl Operation for FoldNames {
    type Output = TakenNames;

    const NAME: &'static str = "fold_names";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<TakenNames>> {
        let UnfoldedAccount { id, login, email, has_email_key } = &self.0;
        let mut taken = TakenNames { login: false, email: false };
        let key = LoginKey::of(login);
        if tx.folded_login_owner(&key).await?.is_some_and(|owner| owner != *id) {
            taken.login = true;
        } else {
            tx.set_folded_login(*id, &key).await?;
        }
        // An address that is no longer accepted has no comparable form.
        if let Some(email) = Email::parse(email).filter(|_| !has_email_key) {
            if tx.email_key_owner(&email).await?.is_some_and(|owner| owner != *id) {
                taken.email = true;
            } else {
                tx.set_email_key(*id, &email).await?;
            }
        }
        Ok(Outcome::Commit(taken))
    }
}

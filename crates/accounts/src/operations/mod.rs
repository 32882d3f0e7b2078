//! The rules of accounts: what is checked, changed and recorded together.
//!
//! Each rule is an [`Operation`](crate::store::Operation) over a
//! [`Transaction`](crate::store::Transaction), so that it is written once for all databases.

mod accounts;
mod administration;
mod api_keys;
mod authorized;
mod codes;
mod deletions;
mod failures;
mod keys;
mod names;
mod passwords;
mod registration;
mod sessions;

pub use accounts::{AccountChanges, UpdateAccount, UpdateOutcome};
pub use administration::{DeleteAccount, DisabledSet, SetDisabled, SetRoles};
pub use api_keys::{CreateApiKey, CreateKeyOutcome, RevokeApiKey};
pub use authorized::Authorized;
pub use codes::{CheckCode, CodeCheck, CodeDelivery, IssueCode, IssueOutcome, VerifyEmail};
pub use deletions::ReplayDeletion;
pub use failures::RecordFailure;
pub use keys::{ReplacedKeys, RotateKeys};
pub use names::{FoldNames, TakenNames};
pub use passwords::{ChangePassword, ResetPassword};
pub use registration::{RegisterAccount, RegisterOutcome};
pub use sessions::{EndSession, OpenSession, Refreshed, RotateSession, Rotation};

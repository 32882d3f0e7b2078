//! What failed attempts are counted by.

use std::net::IpAddr;

use ring::digest::{SHA256, digest};

use crate::email::Email;
use crate::session::Identity;
use crate::store::{FailureKey, Identifier};

/// Failed sign-ins count by what was typed, not by the account: otherwise a lock by the login
/// would reveal which address belongs to it. They count for unknown names, too, so that the
/// limit does not reveal which names exist. A stranger in another network locks nobody out.
pub(crate) fn sign_in_key(typed: &Identifier, network: Option<IpAddr>) -> FailureKey {
    let (kind, name) = match typed {
        Identifier::Email(email) => ("address", email.key()),
        Identifier::Login(key) => ("login", key.folded()),
    };
    let network = network.map(|network| network.to_string()).unwrap_or_default();
    hash([kind, name, &network])
}

/// Wrong passwords of a session that changes its password.
pub(crate) fn session_key(owner: &Identity) -> FailureKey {
    hash(["session", &owner.session.to_string(), ""])
}

/// Wrong codes for an address, over all its codes.
pub(crate) fn code_key(email: &Email) -> FailureKey {
    hash(["code", email.key(), ""])
}

/// None of the parts contains a NUL.
fn hash(parts: [&str; 3]) -> FailureKey {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, parts.join("\0").as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::LoginKey;

    #[test]
    fn keys_differ_by_name_and_network() {
        let ada = || Identifier::Login(LoginKey::of("ada"));
        let address = Email::parse("ada@example.com").map(Identifier::Email).expect("an address");
        let network = |last| Some(IpAddr::from([192, 0, 2, last]));
        let keys = [
            sign_in_key(&ada(), network(1)),
            sign_in_key(&ada(), network(2)),
            sign_in_key(&ada(), None),
            sign_in_key(&address, network(1)),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(sign_in_key(&ada(), network(1)), keys[0]);
    }
}

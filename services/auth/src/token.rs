//! The token of a request, and where the request comes from.

use std::convert::Infallible;

use accounts::{Accounts, Caller, Identity};
use axum::extract::FromRequestParts;
use contracts::account::Role;
use contracts::problem::Code;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use kit::http::{Client, Problem};

use crate::fault::Fault;

/// The account and the session that a valid token came from.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(pub Identity);

impl Bearer {
    /// A problem unless the account is an administrator's. To be asked once the body has
    /// been read: its faults are told first.
    pub fn must_be_admin(&self) -> Result<(), Problem> {
        if self.0.account.roles.contains(&Role::Admin) {
            Ok(())
        } else {
            Err(Problem::new(Code::Forbidden))
        }
    }
}

impl FromRequestParts<Accounts> for Bearer {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, accounts: &Accounts) -> Result<Self, Fault> {
        let token = bearer(&parts.headers).map_err(Problem::new)?;
        Ok(Self(accounts.authenticate(token).await?))
    }
}

/// The bearer token in the headers (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Code> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Code::TokenMissing) };
    if values.next().is_some() {
        // Which one is meant can't be told.
        return Err(Code::TokenInvalid);
    }
    let text = value.to_str().map_err(|_| Code::TokenInvalid)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Code::TokenMissing);
    }
    Ok(token.trim())
}

/// Where the request comes from, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Asker(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Client { address, user_agent } = Client::from_request_parts(parts, state).await?;
        Ok(Self(Caller { ip: address, user_agent }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let missing = Err(Code::TokenMissing);
        let invalid = Err(Code::TokenInvalid);
        let cases = [
            (vec![], missing),
            (vec!["Basic YTpi"], missing),
            (vec!["Bearer a.b.c"], Ok("a.b.c")),
            (vec!["bEARER   a.b.c "], Ok("a.b.c")),
            (vec!["Bearer"], Ok("")),
            (vec!["Bearer \u{e9}"], invalid),
            (vec!["Bearer a", "Bearer b"], invalid),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in &given {
                headers.append(
                    AUTHORIZATION,
                    HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
                );
            }
            assert_eq!(bearer(&headers), expected, "{given:?}");
        }
    }
}

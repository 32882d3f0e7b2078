//! The token of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use kit::http::Problem;

use super::{Caller, Refusal};
use crate::state::Api;

/// The caller, whose token has been checked.
#[derive(Clone, Debug)]
pub struct Authorized(pub Arc<Caller>);

impl FromRequestParts<Api> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        Ok(Self(api.check.check(token).await?))
    }
}

/// The bearer token in the headers (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Refusal::Missing) };
    if values.next().is_some() {
        // Which one is meant can't be told.
        return Err(Refusal::Invalid);
    }
    let text = value.to_str().map_err(|_| Refusal::Invalid)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    Ok(token.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let cases = [
            (vec![], Err(Refusal::Missing)),
            (vec!["Basic YTpi"], Err(Refusal::Missing)),
            (vec!["Bearer a.b.c"], Ok("a.b.c")),
            (vec!["bEARER   a.b.c "], Ok("a.b.c")),
            (vec!["Bearer"], Ok("")),
            (vec!["Bearera.b.c"], Err(Refusal::Missing)),
            (vec!["Bearer \u{fc}"], Err(Refusal::Invalid)),
            (vec!["Bearer a", "Bearer b"], Err(Refusal::Invalid)),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in &given {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                headers.append(AUTHORIZATION, value);
            }
            assert_eq!(bearer(&headers), expected, "{given:?}");
        }
    }
}

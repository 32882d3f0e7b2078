//! Who asks, by the token in a request's headers, and what that is good for.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use miniapp_types::problem::Code;

use crate::problem::Problem;

/// The bearer token (RFC 6750, 2.1), or what its lack or its form is refused with.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Code> {
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

/// A problem unless who asks is an administrator. To be asked once the body has been
/// read: its faults are told first.
pub fn require_admin(is_admin: bool) -> Result<(), Problem> {
    if is_admin { Ok(()) } else { Err(Problem::new(Code::Forbidden)) }
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
            (vec!["Bearera.b.c"], missing),
            (vec!["Bearer \u{e9}"], invalid),
            (vec!["Bearer a", "Bearer b"], invalid),
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

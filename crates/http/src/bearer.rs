//! Bearer tokens.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use miniapp_types::problem::Code;

/// Returns the bearer token (RFC 6750, section 2.1), or the code of the error.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Code> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Code::TokenMissing) };
    if values.next().is_some() {
        // It is ambiguous which one is meant.
        return Err(Code::TokenInvalid);
    }
    let text = value.to_str().map_err(|_| Code::TokenInvalid)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Code::TokenMissing);
    }
    Ok(token.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bearer_returns_the_token() {
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

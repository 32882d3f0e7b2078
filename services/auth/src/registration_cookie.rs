//! The cookie that carries the token of a verification from `POST /verify-email` to
//! `POST /register`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponseParts, ResponseParts};
use http::HeaderValue;
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use miniapp_accounts::VERIFICATION_TTL;
use miniapp_types::account::Secret;

const NAME: &str = "registration";
/// Scripts can't read the cookie, and other sites can't cause a request with it.
const ATTRIBUTES: &str = "Path=/register; HttpOnly; SameSite=Strict";

/// Extracts the token from the cookie, if there is one.
pub(crate) struct RegistrationCookie(pub Option<Secret>);

impl<S: Send + Sync> FromRequestParts<S> for RegistrationCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // HTTP/2 may split the cookies into several headers.
        let headers = parts.headers.get_all(COOKIE).iter();
        let mut cookies = headers.filter_map(|value| value.to_str().ok()).flat_map(|cookies| {
            cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='))
        });
        let token = cookies.find(|(name, _)| *name == NAME).map(|(_, token)| Secret::new(token));
        Ok(Self(token))
    }
}

/// The response header that sets or removes the cookie.
pub(crate) struct SetRegistrationCookie(String);

impl SetRegistrationCookie {
    /// The token is URL-safe Base64, so it needs no quotes.
    pub fn new(token: &Secret) -> Self {
        let max_age = VERIFICATION_TTL.as_secs();
        Self(format!("{NAME}={}; Max-Age={max_age}; {ATTRIBUTES}", token.expose()))
    }

    pub fn removed() -> Self {
        Self(format!("{NAME}=; Max-Age=0; {ATTRIBUTES}"))
    }
}

impl IntoResponseParts for SetRegistrationCookie {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Ok(mut value) = HeaderValue::try_from(self.0) {
            value.set_sensitive(true);
            parts.headers_mut().append(SET_COOKIE, value);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[tokio::test]
    async fn token_is_found_among_other_cookies() {
        let cases = [
            (vec![], None),
            (vec!["registration=abc"], Some("abc")),
            (vec!["a=b; registration=abc; c=d"], Some("abc")),
            (vec!["a=b", "registration=abc"], Some("abc")),
            (vec!["xregistration=abc; registration"], None),
        ];
        for (headers, expected) in cases {
            let mut request = Request::get("/register");
            for cookies in &headers {
                request = request.header(COOKIE, *cookies);
            }
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            let extracted = RegistrationCookie::from_request_parts(&mut parts, &()).await;
            let RegistrationCookie(token) = extracted.expect("infallible");
            assert_eq!(token.as_ref().map(Secret::expose), expected, "{headers:?}");
        }
    }
}

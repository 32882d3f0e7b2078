//! `GET /.well-known/jwks.json`: the public keys.

use axum::Json;
use axum::extract::State;
use http::header::{CACHE_CONTROL, HeaderName};
use miniapp_accounts::Accounts;
use miniapp_types::account::Jwks;

/// Shorter than the time for which a key is published before it signs.
const CACHE_ONE_MINUTE: (HeaderName, &str) = (CACHE_CONTROL, "public, max-age=60");

/// The public keys
///
/// Anyone can verify access tokens with them. A key is published before it signs.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "get_public_keys",
    tag = "tokens",
    security(()),
    responses((status = 200, description = "The keys (RFC 7517)", body = Jwks))
)]
pub(super) async fn jwks(
    State(accounts): State<Accounts>,
) -> ([(HeaderName, &'static str); 1], Json<Jwks>) {
    ([CACHE_ONE_MINUTE], Json(accounts.jwks().await))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_runtime::clock::Clock as _;
    use miniapp_token::{PublicKeys, TokenError};

    use crate::testing::App;

    const DAY: Duration = Duration::from_hours(24);

    async fn verifier(app: &App) -> (PublicKeys, usize) {
        let jwks = app.send("GET", "/.well-known/jwks.json", None, None).await;
        assert_eq!(jwks.status, 200);
        let jwks = jwks.read();
        (PublicKeys::new(&jwks), jwks.keys.len())
    }

    #[tokio::test]
    async fn published_keys_verify_tokens() {
        let app = App::new().await;
        let account = app.register("ada").await;
        let session = app.sign_in("ada").await;
        let (verifier, keys) = verifier(&app).await;
        assert_eq!(keys, 1);
        let claims = verifier.verify(&session.access, app.clock.now()).expect("valid");
        assert_eq!(account["userId"], claims.sub.to_string());
        assert_eq!((claims.sid, claims.epoch, &*claims.login), (session.id, 1, "ada"));
        assert_eq!((claims.iat, claims.exp), (1_893_456_000, 1_893_456_900));
    }

    #[tokio::test]
    async fn key_rotation_overlaps() {
        let app = App::new().await;
        app.register("ada").await;
        let (before, _) = verifier(&app).await;

        // The next key is published but doesn't sign yet.
        app.clock.advance(29 * DAY + Duration::from_mins(24 * 60 - 5));
        app.accounts.maintain_keys().await.expect("keys");
        let (both, keys) = verifier(&app).await;
        assert_eq!(keys, 2);
        let old = app.sign_in("ada").await;
        assert!(before.verify(&old.access, app.clock.now()).is_ok());

        // Now it signs, and tokens of the old key stay valid.
        app.clock.advance(Duration::from_mins(10));
        let new = app.refresh(&old).await;
        assert_eq!(before.verify(&new.access, app.clock.now()), Err(TokenError::Invalid));
        for token in [&old.access, &new.access] {
            assert!(both.verify(token, app.clock.now()).is_ok());
        }
        assert_eq!(app.get("/users/me", &new.access).await.status, 200);

        // A day later the old key is removed.
        app.clock.advance(DAY);
        app.accounts.maintain_keys().await.expect("keys");
        let (after, keys) = verifier(&app).await;
        assert_eq!(keys, 1);
        let newest = app.sign_in("ada").await;
        assert!(after.verify(&newest.access, app.clock.now()).is_ok());
    }
}

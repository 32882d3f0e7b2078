//! `GET /api-keys`: lists the caller's API keys.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_types::account::ApiKeys;

use crate::error::ApiError;
use crate::token::AuthenticatedUser;

/// List API keys
///
/// Keys that were not deleted, newest first, without the keys themselves.
#[utoipa::path(
    get,
    path = "/api-keys",
    tag = "keys",
    responses((status = 200, description = "The keys", body = ApiKeys))
)]
pub(super) async fn list_api_keys(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
) -> Result<Json<ApiKeys>, ApiError> {
    Ok(Json(accounts.api_keys(&owner).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::testing::App;

    #[tokio::test]
    async fn use_is_recorded_about_once_a_minute() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        let key = app.create_key(&token, &["tasks:read"]).await;
        let last_use = async || {
            let listed = app.get("/api-keys", &token).await.json();
            listed["apiKeys"][0]["lastUsedAt"].clone()
        };
        assert_eq!(last_use().await, Value::Null);
        let use_key = async || {
            let valid = app.post("/validate", json!({"token": key.text})).await;
            assert_eq!(valid.status, 200, "{valid:?}");
        };
        let is_recorded = async |at: &str| {
            for _ in 0..3000 {
                if last_use().await == at {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        };
        use_key().await;
        assert!(is_recorded("2030-01-01T00:00:00Z").await, "the first use");
        app.clock.advance(Duration::from_secs(49));
        use_key().await;
        assert_eq!(last_use().await, "2030-01-01T00:00:00Z", "within a minute");
        app.clock.advance(Duration::from_secs(11));
        use_key().await;
        assert!(is_recorded("2030-01-01T00:01:00Z").await, "a minute later");
    }
}

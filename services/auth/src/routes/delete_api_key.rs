//! `DELETE /api-keys/{id}`: revokes an API key.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_http::Id;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::ApiKeyNotFound];

/// Delete an API key
///
/// The key is refused everywhere at once, and open event streams of it end.
#[utoipa::path(
    delete,
    path = "/api-keys/{id}",
    tag = "keys",
    params(("id" = Uuid, Path, description = "The key's id")),
    responses((status = 204, description = "The key was deleted"))
)]
pub(super) async fn delete_api_key(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
    ClientInfo(caller): ClientInfo,
    id: Id,
) -> Result<StatusCode, ApiError> {
    accounts.revoke_api_key(&owner, id.or(Code::ApiKeyNotFound)?, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use miniapp_broker::Topic;
    use serde_json::json;
    use uuid::Uuid;

    use crate::testing::App;

    #[tokio::test]
    async fn only_own_keys_can_be_deleted_and_only_once() {
        let app = App::new().await;
        app.register("ada").await;
        app.register("bob").await;
        let (ada, bob) = (app.sign_in("ada").await.access, app.sign_in("bob").await.access);
        let mine = app.create_key(&ada, &["tasks:read"]).await;
        let foreign = app.create_key(&bob, &["tasks:read"]).await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let delete =
            async |id: &str| app.send("DELETE", &format!("/api-keys/{id}"), Some(&ada), None).await;
        assert_eq!(delete(&mine.id.to_string()).await.status, 204);
        assert_eq!(events.next().await, (mine.id, None));
        for id in [mine.id.to_string(), foreign.id.to_string(), Uuid::nil().to_string(), "1".into()]
        {
            delete(&id).await.is_problem(404, "api_key_not_found");
        }
        let validate = async |key: &str| app.post("/validate", json!({"token": key})).await;
        validate(&mine.text).await.is_problem(400, "token_revoked");
        assert_eq!(validate(&foreign.text).await.status, 200);
        app.get("/api-keys", &ada).await.is(200, json!({"apiKeys": []}));
    }

    #[tokio::test]
    async fn creation_and_deletion_are_recorded() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let root = app.register("root").await;
        let token = app.sign_in("root").await.access;
        let key = app.create_key(&token, &["admin:read"]).await;
        let path = format!("/api-keys/{}", key.id);
        for status in [204, 404] {
            assert_eq!(app.send("DELETE", &path, Some(&token), None).await.status, status);
        }
        let audit = app.get("/audit?limit=3", &token).await.json();
        let entries = audit["entries"].as_array().expect("entries");
        let recorded: Vec<_> =
            entries.iter().map(|entry| (&entry["action"], &entry["outcome"])).collect();
        let expected = json!([
            ["revoke_api_key", "api_key_not_found"],
            ["revoke_api_key", "ok"],
            ["create_api_key", "ok"],
        ]);
        assert_eq!(json!(recorded), expected);
        for entry in entries {
            assert_eq!(entry["apiKeyId"], json!(key.id));
            assert_eq!((&entry["userId"], &entry["actorId"]), (&root["userId"], &root["userId"]));
        }
    }
}

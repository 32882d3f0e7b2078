//! `DELETE /users/me`: deletes the caller's account.

use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::{AuthenticatedUser, ClientInfo};

pub(super) const PROBLEMS: &[Code] = &[Code::LastAdmin];

/// Delete the account
///
/// Ends its sessions at once and deletes its tasks. The last enabled admin cannot be deleted.
#[utoipa::path(
    delete,
    path = "/users/me",
    tag = "account",
    responses((status = 204, description = "The account was deleted"))
)]
pub(super) async fn delete_account(
    State(accounts): State<Accounts>,
    AuthenticatedUser(owner): AuthenticatedUser,
    ClientInfo(caller): ClientInfo,
) -> Result<StatusCode, ApiError> {
    accounts.delete(&owner, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use miniapp_broker::{Broker as _, Queue, Topic};
    use miniapp_types::message::AccountDeleted;
    use serde_json::json;

    use crate::testing::{App, PASSWORD};

    #[tokio::test]
    async fn deletion_ends_sessions_and_is_published() {
        let app = App::new().await;
        let account = app.register("ada").await;
        let session = app.sign_in("ada").await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let deleted = app.send("DELETE", "/users/me", Some(&session.access), None).await;
        assert_eq!(deleted.status, 204);
        assert_eq!(events.next().await, (session.id, None));
        app.get("/users/me", &session.access).await.is_problem(401, "token_revoked");
        let refresh = json!({"refreshToken": session.refresh});
        app.post("/refresh", refresh).await.is_problem(401, "token_revoked");
        let again = json!({"login": "ada", "password": PASSWORD});
        app.post("/sign-in", again).await.is_problem(401, "credentials_invalid");

        app.deliver().await;
        let mut consumer =
            app.broker.consume(Queue::AccountDeletions, 1).await.expect("a consumer");
        let delivery = consumer.next().await.expect("a message");
        let AccountDeleted::V1 { user_id, .. } = delivery.message.decode().expect("a deletion");
        assert_eq!(json!(user_id), account["userId"]);
        delivery.ack().await;
    }

    #[tokio::test]
    async fn owner_gets_a_mail() {
        let app = App::new().await;
        app.register_at("ada", "Ada@example.com").await;
        let token = app.sign_in("ada").await.access;
        assert_eq!(app.send("DELETE", "/users/me", Some(&token), None).await.status, 204);
        let mail = app.mails().await.remove(0);
        assert_eq!(mail.to, "Ada@example.com");
        assert_eq!(mail.subject, "Your MiniApp account was deleted");
        assert!(mail.text.contains("account ada was deleted"), "{}", mail.text);
    }

    #[tokio::test]
    async fn login_and_address_become_available() {
        let app = App::new().await;
        app.register("ada").await;
        let token = app.sign_in("ada").await.access;
        app.send("DELETE", "/users/me", Some(&token), None).await;
        app.clock.advance(std::time::Duration::from_mins(1));
        app.register("ada").await;
    }
}

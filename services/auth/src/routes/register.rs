//! `POST /register`: creates an account.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use miniapp_accounts::Accounts;
use miniapp_accounts::requests::Registration;
use miniapp_types::account::{Account, Register};
use miniapp_types::problem::Code;

use crate::body::ValidatedBody;
use crate::error::ApiError;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] =
    &[Code::EmailNotVerified, Code::LoginTaken, Code::EmailTaken, Code::TooManyRequests];

/// Register
///
/// The address must have been verified within the last hour. A login is taken if another
/// account has it, in any case, or a confusable one.
#[utoipa::path(
    post,
    path = "/register",
    tag = "sign-up",
    security(()),
    request_body = Register,
    responses((status = 201, description = "The account", body = Account))
)]
pub(super) async fn register(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    ValidatedBody(registration): ValidatedBody<Registration>,
) -> Result<(StatusCode, Json<Account>), ApiError> {
    let account = accounts.register(registration, &caller).await?;
    Ok((StatusCode::CREATED, Json(account)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{App, PASSWORD};

    fn body(login: &str, email: &str) -> Value {
        json!({"login": login, "email": email, "password": PASSWORD})
    }

    #[tokio::test]
    async fn verified_address_can_be_registered() {
        let app = App::new().await;
        app.verify("ada@example.com").await;
        let mut wanted = body("Ada", "ADA@example.com");
        wanted["passwordConfirm"] = json!(PASSWORD);
        wanted["birthDate"] = json!("1990-01-31");
        wanted["phoneNumber"] = json!("+44 20 7946 0000");
        let made = app.post("/register", wanted).await;
        let account = made.json();
        let expected = json!({
            "userId": account["userId"],
            "login": "Ada",
            "email": "ada@example.com",
            "roles": ["user"],
            "birthDate": "1990-01-31",
            "phoneNumber": "+44 20 7946 0000",
            "createdAt": "2030-01-01T00:00:00Z",
        });
        made.is(201, expected);
    }

    #[tokio::test]
    async fn verification_allows_one_registration() {
        let app = App::new().await;
        app.post("/register", body("ada", "ada@example.com"))
            .await
            .is_problem(403, "email_not_verified");
        app.register("ada").await;
        app.post("/register", body("bob", "ada@example.com"))
            .await
            .is_problem(403, "email_not_verified");
    }

    #[tokio::test]
    async fn confusable_login_is_taken() {
        let app = App::new().await;
        app.register("paypal").await;
        app.verify("x@example.com").await;
        // Another case, a digit for a letter, Cyrillic letters for Latin ones.
        for login in ["PayPal", "paypa1", "\u{440}\u{430}\u{443}\u{440}\u{430}\u{4cf}"] {
            app.post("/register", body(login, "x@example.com"))
                .await
                .is_problem(409, "login_taken");
        }
        // None of these consumed the verification.
        assert_eq!(app.post("/register", body("xavier", "x@example.com")).await.status, 201);
    }

    #[tokio::test]
    async fn verified_but_registered_address_is_taken() {
        let app = App::new().await;
        app.verify("ada@example.com").await;
        let code = {
            app.clock.advance(std::time::Duration::from_mins(1));
            app.code_for("ada@example.com").await
        };
        assert_eq!(app.post("/register", body("ada", "ada@example.com")).await.status, 201);
        let verified = json!({"email": "ada@example.com", "code": code});
        assert_eq!(app.post("/verify-email", verified).await.status, 200);
        app.post("/register", body("bob", "ada@example.com")).await.is_problem(409, "email_taken");
    }

    #[tokio::test]
    async fn admin_email_gets_admin_role() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "Root@example.com")]).await;
        assert_eq!(app.register("root").await["roles"], json!(["user", "admin"]));
        assert_eq!(app.register("ada").await["roles"], json!(["user"]));
    }

    #[tokio::test]
    async fn birth_date_in_the_future_is_rejected() {
        let app = App::new().await;
        app.verify("ada@example.com").await;
        let mut wanted = body("ada", "ada@example.com");
        wanted["birthDate"] = json!("2030-01-03");
        app.post("/register", wanted).await.has_errors(&["birthDate"]);
    }
}

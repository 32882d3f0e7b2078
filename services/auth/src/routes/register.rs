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
use crate::registration_cookie::{RegistrationCookie, SetRegistrationCookie};
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] =
    &[Code::EmailNotVerified, Code::LoginTaken, Code::EmailTaken, Code::TooManyRequests];

/// Register
///
/// The same client must have verified the address within the last hour: the request carries
/// the token of the verification in `registrationToken` or in the cookie `registration`. A
/// login is taken if another account has it, in any case, or a confusable one.
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
    RegistrationCookie(cookie): RegistrationCookie,
    ValidatedBody(mut registration): ValidatedBody<Registration>,
) -> Result<(StatusCode, SetRegistrationCookie, Json<Account>), ApiError> {
    registration.token = registration.token.or(cookie);
    let account = accounts.register(registration, &caller).await?;
    Ok((StatusCode::CREATED, SetRegistrationCookie::removed(), Json(account)))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::{CONTENT_TYPE, COOKIE};
    use serde_json::{Value, json};

    use crate::testing::{App, PASSWORD, TestResponse};

    fn body(login: &str, email: &str, token: &str) -> Value {
        json!({
            "login": login,
            "email": email,
            "password": PASSWORD,
            "registrationToken": token,
        })
    }

    /// Registers without the token in the body.
    async fn register_with_cookie(app: &App, login: &str, cookies: &str) -> TestResponse {
        let mut body = body(login, "ada@example.com", "");
        body.as_object_mut().expect("an object").remove("registrationToken");
        let request = Request::post("/register")
            .header(CONTENT_TYPE, "application/json")
            .header(COOKIE, cookies)
            .body(body.to_string().into());
        app.send_request(request.expect("a request")).await
    }

    #[tokio::test]
    async fn verified_address_can_be_registered() {
        let app = App::new().await;
        let token = app.verify("ada@example.com").await;
        let mut wanted = body("Ada", "ADA@example.com", &token);
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
            "disabled": false,
        });
        made.is(201, expected);
    }

    #[tokio::test]
    async fn verification_allows_one_registration() {
        let app = App::new().await;
        app.post("/register", body("ada", "ada@example.com", "x"))
            .await
            .is_problem(403, "email_not_verified");
        let token = app.verify("ada@example.com").await;
        let made = app.post("/register", body("ada", "ada@example.com", &token)).await;
        assert_eq!(made.status, 201);
        app.post("/register", body("bob", "ada@example.com", &token))
            .await
            .is_problem(403, "email_not_verified");
    }

    /// Also not the address of the first admin.
    #[tokio::test]
    async fn address_verified_by_someone_else_is_not_verified() {
        let app = App::with(&[("MINIAPP__AUTH__ADMIN_EMAIL", "root@example.com")]).await;
        let own = app.verify("eve@example.com").await;
        let token = app.verify("root@example.com").await;
        let mut without = body("eve", "root@example.com", "");
        without.as_object_mut().expect("an object").remove("registrationToken");
        for wanted in [without, body("eve", "root@example.com", &own)] {
            app.post("/register", wanted).await.is_problem(403, "email_not_verified");
        }
        let made = app.post("/register", body("root", "root@example.com", &token)).await;
        assert_eq!((made.status, &made.json()["roles"]), (201, &json!(["user", "admin"])));
    }

    #[tokio::test]
    async fn verification_sets_cookie_for_registration() {
        let app = App::new().await;
        let code = app.code_for("ada@example.com").await;
        let verify = json!({"email": "ada@example.com", "code": code});
        let verified = app.post("/verify-email", verify).await;
        let token = verified.json()["registrationToken"].as_str().expect("a token").to_owned();
        let cookie = verified.header("set-cookie").to_owned();
        let expected = format!(
            "registration={token}; Max-Age=3600; Path=/register; HttpOnly; SameSite=Strict"
        );
        assert_eq!(cookie, expected);
        register_with_cookie(&app, "ada", "registration=x")
            .await
            .is_problem(403, "email_not_verified");
        let made =
            register_with_cookie(&app, "ada", &format!("theme=dark; registration={token}")).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert!(made.header("set-cookie").starts_with("registration=; Max-Age=0; "));
    }

    #[tokio::test]
    async fn token_expires_with_verification() {
        let app = App::new().await;
        let token = app.verify("ada@example.com").await;
        app.clock.advance(std::time::Duration::from_hours(1));
        app.post("/register", body("ada", "ada@example.com", &token))
            .await
            .is_problem(403, "email_not_verified");
    }

    #[tokio::test]
    async fn confusable_login_is_taken() {
        let app = App::new().await;
        app.register("paypal").await;
        let token = app.verify("x@example.com").await;
        // Another case, a digit for a letter, Cyrillic letters for Latin ones.
        for login in ["PayPal", "paypa1", "\u{440}\u{430}\u{443}\u{440}\u{430}\u{4cf}"] {
            app.post("/register", body(login, "x@example.com", &token))
                .await
                .is_problem(409, "login_taken");
        }
        // None of these consumed the verification.
        let made = app.post("/register", body("xavier", "x@example.com", &token)).await;
        assert_eq!(made.status, 201);
    }

    #[tokio::test]
    async fn verified_but_registered_address_is_taken() {
        let app = App::new().await;
        let token = app.verify("ada@example.com").await;
        let code = {
            app.clock.advance(std::time::Duration::from_mins(1));
            app.code_for("ada@example.com").await
        };
        let made = app.post("/register", body("ada", "ada@example.com", &token)).await;
        assert_eq!(made.status, 201);
        let verified = app.post("/verify-email", json!({"email": "ada@example.com", "code": code}));
        let verified = verified.await;
        assert_eq!(verified.status, 200);
        let token = verified.json()["registrationToken"].as_str().expect("a token").to_owned();
        app.post("/register", body("bob", "ada@example.com", &token))
            .await
            .is_problem(409, "email_taken");
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
        let token = app.verify("ada@example.com").await;
        let mut wanted = body("ada", "ada@example.com", &token);
        wanted["birthDate"] = json!("2030-01-03");
        app.post("/register", wanted).await.has_errors(&["birthDate"]);
    }
}

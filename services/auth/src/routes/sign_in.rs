//! `POST /sign-in`: opens a session.

use axum::Json;
use axum::extract::State;
use miniapp_accounts::Accounts;
use miniapp_http::Body;
use miniapp_types::account::{DEFAULT_CLIENT, PasswordSignIn, Refresh, SignIn, Tokens};
use miniapp_types::problem::Code;

use crate::error::ApiError;
use crate::token::ClientInfo;

pub(super) const PROBLEMS: &[Code] = &[
    Code::CredentialsInvalid,
    Code::AccountDisabled,
    Code::TokenInvalid,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::TokenReused,
    Code::TooManyRequests,
];

/// Sign in
///
/// With a login or an address and a password: opens a session, and ends the previous one of the
/// same `client`. If the account has too many sessions, the least recently used one ends. With a
/// refresh token: the same as `POST /refresh`.
#[utoipa::path(
    post,
    path = "/sign-in",
    tag = "tokens",
    security(()),
    request_body = SignIn,
    responses((status = 200, description = "The session's tokens", body = Tokens))
)]
pub(super) async fn sign_in(
    State(accounts): State<Accounts>,
    ClientInfo(caller): ClientInfo,
    Body(body): Body<SignIn>,
) -> Result<Json<Tokens>, ApiError> {
    let tokens = match body {
        SignIn::Password(PasswordSignIn { login, password, client }) => {
            let client = client.as_deref().unwrap_or(DEFAULT_CLIENT);
            accounts.sign_in(&login, &password, client, &caller).await?
        }
        SignIn::Refresh(Refresh { refresh_token }) => {
            accounts.refresh(&refresh_token, &caller).await?
        }
    };
    Ok(Json(tokens))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use miniapp_broker::Topic;
    use serde_json::json;

    use crate::testing::{App, PASSWORD};

    #[tokio::test]
    async fn login_and_address_work_in_any_case() {
        let app = App::new().await;
        app.register("Ada").await;
        for login in ["Ada", "aDA", "ADA@example.com"] {
            let response =
                app.post("/sign-in", json!({"login": login, "password": PASSWORD})).await;
            let tokens = response.json();
            let expected = json!({
                "authToken": tokens["authToken"],
                "refreshToken": tokens["refreshToken"],
                "tokenType": "Bearer",
                "expiresIn": 900,
                "refreshExpiresIn": 2_592_000,
                "userName": "Ada",
                "email": "ada@example.com",
            });
            response.is(200, expected);
            assert_ne!(tokens["authToken"], tokens["refreshToken"]);
        }
    }

    #[tokio::test]
    async fn login_is_compared_case_folded() {
        let app = App::new().await;
        let token = app.verify("ada@xn--bcher-kva.example").await;
        let body = json!({
            "login": "Γιώργος",
            "email": "ada@bücher.example",
            "password": PASSWORD,
            "registrationToken": token,
        });
        assert_eq!(app.post("/register", body).await.status, 201);
        for login in ["ΓΙΏΡΓΟΣ", "γιώργοσ", "ada@bücher.example", "ADA@ｂücher.example"]
        {
            app.sign_in(login).await;
        }
        let token = app.verify("bob@example.com").await;
        let body = json!({
            "login": "γιώργοσ",
            "email": "bob@example.com",
            "password": PASSWORD,
            "registrationToken": token,
        });
        app.post("/register", body).await.is_problem(409, "login_taken");
    }

    #[tokio::test]
    async fn new_session_ends_previous_one() {
        let app = App::new().await;
        app.register("ada").await;
        let first = app.sign_in("ada").await;
        let second = app.sign_in("ada").await;
        app.get("/users/me", &first.access).await.is_problem(401, "token_revoked");
        assert_eq!(app.get("/users/me", &second.access).await.status, 200);
        app.post("/sign-in", json!({"refreshToken": first.refresh}))
            .await
            .is_problem(401, "token_revoked");
        let refreshed = app.post("/sign-in", json!({"refreshToken": second.refresh})).await;
        assert_eq!(refreshed.status, 200);
    }

    #[tokio::test]
    async fn unknown_login_and_wrong_password_are_indistinguishable() {
        let app = App::new().await;
        app.register("ada").await;
        for (login, password) in
            [("ada", "wrong password"), ("nobody", PASSWORD), ("x@y.z", PASSWORD), ("@", "x")]
        {
            let response =
                app.post("/sign-in", json!({"login": login, "password": password})).await;
            response.is_problem(401, "credentials_invalid");
        }
    }

    #[tokio::test]
    async fn ten_failures_block_sign_in() {
        let app = App::new().await;
        app.register("ada").await;
        for login in ["ada", "nobody"] {
            for _ in 0..10 {
                let wrong = json!({"login": login, "password": "wrong password"});
                app.post("/sign-in", wrong).await.is_problem(401, "credentials_invalid");
            }
            let right = json!({"login": login, "password": PASSWORD});
            let response = app.post("/sign-in", right).await;
            response.is_problem(429, "too_many_requests");
            assert_eq!(response.header("retry-after"), "900");
        }
        app.clock.advance(Duration::from_mins(15));
        app.sign_in("ada").await;
    }

    #[tokio::test]
    async fn failures_count_per_network() {
        let app = App::new().await;
        app.register("ada").await;
        let sign_in = async |peer: &str, password| {
            let body = json!({"login": "ada", "password": password});
            app.post_from(peer.parse::<IpAddr>().expect("an address"), "/sign-in", body)
                .await
                .status
        };
        // Addresses of one IPv6 network count together.
        for attempt in 0..10 {
            assert_eq!(sign_in("192.0.2.1", "wrong").await, 401);
            assert_eq!(sign_in(&format!("2001:db8::{attempt}"), "wrong").await, 401);
        }
        for (peer, status) in [
            ("192.0.2.1", 429),
            ("2001:db8::ffff", 429),
            ("192.0.2.2", 200),
            ("2001:db8:0:1::1", 200),
        ] {
            assert_eq!(sign_in(peer, PASSWORD).await, status, "{peer}");
        }
    }

    #[tokio::test]
    async fn lock_does_not_reveal_address_of_login() {
        let app = App::new().await;
        app.register("ada").await;
        let sign_in = async |login: &str| {
            app.post("/sign-in", json!({"login": login, "password": "wrong"})).await
        };
        for _ in 0..10 {
            sign_in("ada").await.is_problem(401, "credentials_invalid");
        }
        sign_in("ada").await.is_problem(429, "too_many_requests");
        for address in ["ada@example.com", "nobody@example.com"] {
            for _ in 0..10 {
                sign_in(address).await.is_problem(401, "credentials_invalid");
            }
            sign_in(address).await.is_problem(429, "too_many_requests");
        }
    }

    /// Clients take turns, and the newest request of a client is first.
    #[tokio::test]
    async fn many_sign_ins_do_not_delay_others() {
        let app = App::with(&[("MINIAPP__LIMITS__PER_IP", "0")]).await;
        app.register("ada").await;
        let answered = AtomicUsize::new(0);
        let unknown = (0..300).map(|number| {
            let body = json!({"login": format!("nobody{number}"), "password": PASSWORD});
            let (app, answered) = (&app, &answered);
            async move {
                let response = app.post_from([192, 0, 2, 1], "/sign-in", body).await;
                answered.fetch_add(1, Ordering::Relaxed);
                response.status
            }
        });
        let others = async {
            // The flood is waiting.
            tokio::time::sleep(Duration::from_millis(50)).await;
            for peer in [[192, 0, 2, 2], [192, 0, 2, 1]] {
                let before = answered.load(Ordering::Relaxed);
                let body = json!({"login": "ada", "password": PASSWORD});
                assert_eq!(app.post_from(peer, "/sign-in", body).await.status, 200);
                let overtaken_by = answered.load(Ordering::Relaxed) - before;
                assert!(overtaken_by < 30, "{overtaken_by} requests went first");
            }
            answered.load(Ordering::Relaxed)
        };
        let (flood, answered_before) = tokio::join!(join_all(unknown), others);
        assert!(answered_before < 200, "{answered_before} of 300 were answered: no flood");
        assert!(flood.iter().all(|status| [401, 503].contains(status)), "{flood:?}");
    }

    #[tokio::test]
    async fn success_resets_failures() {
        let app = App::new().await;
        app.register("ada").await;
        for _ in 0..3 {
            for _ in 0..9 {
                app.post("/sign-in", json!({"login": "ada", "password": "wrong"})).await;
            }
            app.sign_in("ada").await;
        }
    }

    #[tokio::test]
    async fn session_limit_is_configurable() {
        let app = App::with(&[("MINIAPP__AUTH__SESSIONS_PER_USER", "2")]).await;
        app.register("ada").await;
        let first = app.sign_in_as("ada", "one").await;
        let second = app.sign_in_as("ada", "two").await;
        assert_eq!(app.get("/users/me", &first.access).await.status, 200);
        let third = app.sign_in_as("ada", "three").await;
        app.get("/users/me", &first.access).await.is_problem(401, "token_revoked");
        for session in [second, third] {
            assert_eq!(app.get("/users/me", &session.access).await.status, 200);
        }
    }

    #[tokio::test]
    async fn account_has_ten_sessions_and_the_least_recently_used_one_ends() {
        let app = App::new().await;
        app.register("ada").await;
        let mut sessions = Vec::new();
        for number in 0..10 {
            app.clock.advance(Duration::from_secs(1));
            sessions.push(app.sign_in_as("ada", &format!("client-{number}")).await);
        }
        app.clock.advance(Duration::from_secs(1));
        sessions[0] = app.refresh(&sessions[0]).await;
        let mut events = app.subscribe(Topic::Sessions).await;
        let eleventh = app.sign_in_as("ada", "client-10").await;
        assert_eq!(events.next().await, (eleventh.id, Some(1)));
        assert_eq!(events.next().await, (sessions[1].id, None));
        app.get("/users/me", &sessions[1].access).await.is_problem(401, "token_revoked");
        sessions.remove(1);
        for session in sessions.iter().chain([&eleventh]) {
            assert_eq!(app.get("/users/me", &session.access).await.status, 200);
        }
    }

    #[tokio::test]
    async fn clients_have_independent_sessions() {
        let app = App::new().await;
        app.register("ada").await;
        let (default, cli) = (app.sign_in("ada").await, app.sign_in_as("ada", "cli").await);
        let without = json!({"login": "ada", "password": PASSWORD, "client": null});
        assert_eq!(app.post("/sign-in", without).await.status, 200);
        app.get("/users/me", &default.access).await.is_problem(401, "token_revoked");
        assert_eq!(app.get("/users/me", &cli.access).await.status, 200);
        for client in ["", "my phone", "k\u{fc}che", &"c".repeat(65)] {
            let body = json!({"login": "ada", "password": PASSWORD, "client": client});
            app.post("/sign-in", body).await.has_errors(&["client"]);
        }
    }
}

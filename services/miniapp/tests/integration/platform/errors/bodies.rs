//! Invalid bodies at every endpoint that reads one.

use miniapp_test_support::http::Answer;
use miniapp_types::problem::Code;
use serde_json::{Value, json};

use super::endpoints::{ENDPOINTS, Endpoint, Sample};
use super::{Callers, code, faulty, is_unmoved, request, with};
use crate::platform::support::shared;

fn endpoints_with_body() -> impl Iterator<Item = (&'static Endpoint, Sample)> {
    ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint, endpoint.body?)))
}

/// The response to a request with these bytes as its body.
async fn sent(callers: &Callers, endpoint: &Endpoint, body: impl Into<Vec<u8>>) -> Answer {
    let request = request(callers, endpoint).header("content-type", "application/json");
    Answer::to(request.body(body.into())).await
}

#[tokio::test]
async fn body_must_be_a_json_object() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    let deep = |open: &str| format!("{{\"email\":{}", open.repeat(10_000)).into_bytes();
    let bodies: [(&str, Vec<u8>); 12] = [
        ("empty", Vec::new()),
        ("cut off", b"{\"email\":\"a".to_vec()),
        ("cut off after a field", b"{\"email\":\"a@b.c\",".to_vec()),
        ("no JSON", b"email=a@b.c".to_vec()),
        ("two values", b"{} {}".to_vec()),
        ("an array", b"[{}]".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"17".to_vec()),
        ("a raw NUL", b"{\"email\":\"a\0b\"}".to_vec()),
        ("invalid UTF-8", b"{\"email\":\"\xff\xfe\"}".to_vec()),
        ("deep arrays", deep("[")),
        ("deep objects", deep("{\"a\":")),
    ];
    for (endpoint, sample) in endpoints_with_body() {
        for (what, body) in &bodies {
            let answer = sent(&callers, endpoint, body.clone()).await;
            assert_eq!(code(&answer), Some(Code::MalformedBody), "{what}: {answer:?}");
            assert_eq!(answer.status, 400);
        }
        let bare = sent(&callers, endpoint, b"\"text\"".to_vec()).await;
        let is_malformed = code(&bare) == Some(Code::MalformedBody);
        assert_eq!(is_malformed, !sample.may_be_missing, "{bare:?}");
    }
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn excessive_json_is_an_error_of_its_field() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    let closed = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (endpoint, sample) in endpoints_with_body() {
        let fields = (sample.value)();
        for field in fields.as_object().expect("an object").keys() {
            for value in ["1e999", r#""\ud800""#, &closed] {
                let body = format!("{{\"{field}\":{value}}}").into_bytes();
                let answer = sent(&callers, endpoint, body).await;
                assert_eq!(
                    code(&answer),
                    Some(Code::InvalidFields),
                    "{field} {value:.9} {answer:?}"
                );
                // Items have paths such as `kinds[0]`.
                let is_of_field = |name: &String| name.split('[').next() == Some(field);
                assert!(faulty(&answer).iter().any(is_of_field), "{field} {value:.9} {answer:?}");
            }
        }
    }
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn content_type_must_be_json() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    for (endpoint, sample) in endpoints_with_body() {
        let body = (sample.value)().to_string();
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=latin1"),
            Some("nonsense"),
        ] {
            let mut request = request(&callers, endpoint).body(body.clone());
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = Answer::to(request).await;
            assert_eq!(code(&answer), Some(Code::UnsupportedMediaType), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn body_size_is_limited() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    for (endpoint, sample) in endpoints_with_body() {
        let mut body = (sample.value)().to_string();
        body.push_str(&" ".repeat((1 << 20) + 1 - body.len()));
        let answer = sent(&callers, endpoint, body.into_bytes()).await;
        assert_eq!(code(&answer), Some(Code::BodyTooLarge), "{answer:?}");
    }
}

#[tokio::test]
async fn all_invalid_fields_are_reported() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    for (endpoint, sample) in endpoints_with_body() {
        let body = (sample.value)();
        let fields: Vec<String> = body.as_object().expect("an object").keys().cloned().collect();
        // `data` expect_success any JSON.
        let typed = || fields.iter().filter(|field| *field != "data");
        let ask = async |body: &Value| sent(&callers, endpoint, body.to_string()).await;

        for field in &fields {
            let mut body = body.clone();
            body.as_object_mut().expect("an object").remove(field);
            let answer = ask(&body).await;
            let is_optional = sample.optional.contains(&field.as_str());
            let has_attempts =
                code(&answer) == Some(Code::InvalidFields) && faulty(&answer).contains(field);
            assert_eq!(has_attempts, !is_optional, "without {field}: {answer:?}");
        }
        for field in typed() {
            let wrong = [
                json!({ "a": 1 }),
                json!([[]]),
                json!(true),
                json!(-1),
                json!(1e300),
                json!(1.5),
                json!(u64::MAX),
                json!("a\u{0}b"),
                json!("x".repeat(60_000)),
            ];
            let is_valid = |value: &Value| value.is_boolean() && body[field.as_str()].is_boolean();
            for value in wrong.into_iter().filter(|value| !is_valid(value)) {
                let answer = ask(&with(&body, field, value.clone())).await;
                let text = value.to_string();
                assert_eq!(
                    code(&answer),
                    Some(Code::InvalidFields),
                    "{field} {text:.40}: {answer:?}"
                );
                let faulty = faulty(&answer);
                let is_named = faulty.iter().any(|faulty| {
                    // The name of a list item contains its index.
                    faulty == field || faulty.starts_with(&format!("{field}["))
                });
                assert!(is_named, "{field} {text:.40}: {faulty:?}");
            }
        }
        let answer = ask(&with(&body, "unheardOf", json!(1))).await;
        assert_eq!(code(&answer), Some(Code::InvalidFields), "{answer:?}");
        assert_eq!(faulty(&answer), ["unheardOf"], "{answer:?}");

        // All invalid fields are reported at once.
        let mut worst = json!({ "unheardOf": 1 });
        typed().for_each(|field| worst[field] = json!({}));
        let answer = ask(&worst).await;
        let reported = faulty(&answer);
        for field in typed().map(String::as_str).chain(["unheardOf"]) {
            assert!(
                reported.iter().any(|reported| reported == field),
                "{field} isn't in {reported:?}: {answer:?}"
            );
        }
    }
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn out_of_range_values_are_reported() {
    let platform = shared().await;
    let callers = Callers::at(&platform).await;
    let find = |path: &str| endpoints_with_body().find(|(endpoint, _)| endpoint.path == path);
    let cases = [
        ("/send-verification-code", "email", json!("ada@example.com\r\nBcc: eve@example.com")),
        ("/send-verification-code", "email", json!("ada@example.com\u{2028}")),
        ("/send-verification-code", "email", json!(format!("{}@example.com", "a".repeat(300)))),
        ("/password-reset", "email", json!("ada@example.com\nSubject: x")),
        ("/register", "email", json!("ada@example.com\r")),
        ("/register", "login", json!("ad")),
        ("/register", "login", json!("a".repeat(101))),
        ("/register", "login", json!("ada lovelace")),
        // A Cyrillic letter among Latin ones.
        ("/register", "login", json!("\u{430}da")),
        ("/register", "password", json!("short")),
        ("/register", "password", json!("p".repeat(257))),
        ("/register", "password", json!("password1234")),
        ("/register", "passwordConfirm", json!("another")),
        ("/register", "birthDate", json!("1990-02-30")),
        ("/register", "birthDate", json!("9999-01-01")),
        ("/register", "phoneNumber", json!("call me")),
        ("/users/me/password", "newPassword", json!("short")),
        ("/password-reset/confirm", "newPassword", json!("short")),
        ("/users/{id}/roles", "roles", json!([])),
        ("/users/{id}/disabled", "disabled", json!("true")),
        ("/api/tasks", "description", json!("")),
        ("/api/tasks", "description", json!("x".repeat(501))),
        ("/api/tasks", "ttl", json!(0)),
        ("/api/tasks", "ttl", json!(86_401)),
        ("/api/tasks", "ttl", json!("60")),
        ("/api/tasks", "maxAttempts", json!(0)),
        ("/api/tasks", "maxAttempts", json!(26)),
        ("/api/tasks", "runAt", json!("tomorrow")),
        ("/api/tasks", "runAt", json!("2030-01-01")),
        ("/api/tasks", "kind", json!("unheard-of")),
    ];
    for (path, field, value) in cases {
        let (endpoint, sample) = find(path).expect(path);
        let body = with(&(sample.value)(), field, value);
        let answer = sent(&callers, endpoint, body.to_string()).await;
        assert_eq!(code(&answer), Some(Code::InvalidFields), "{body:.200} {answer:?}");
        let reported = faulty(&answer);
        assert_eq!(reported[0], field, "{body:.200}: {reported:?}");
        // A rejected password is not compared with its confirmation.
        assert!(reported.len() == 1 || field == "password", "{body:.200}: {reported:?}");
    }
    let large =
        with(&json!({ "description": "d", "ttl": 1 }), "data", json!("x".repeat(256 * 1024)));
    let (endpoint, _) = find("/api/tasks").expect("there");
    let answer = sent(&callers, endpoint, large.to_string()).await;
    assert_eq!(code(&answer), Some(Code::BodyTooLarge), "{}", answer.status);
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn invalid_query_parameters_are_reported() {
    let platform = shared().await;
    let Callers { user, admin } = Callers::at(&platform).await;
    let pages = [user.api("GET", "/api/tasks"), admin.api("GET", "/api/dead-letters")];
    let pages = pages.into_iter().chain([admin.auth("GET", "/users"), admin.auth("GET", "/audit")]);
    for page in pages {
        let url = page.build().expect("a request").url().to_string();
        for (query, fields) in [
            ("limit=0", vec!["limit"]),
            ("limit=201", vec!["limit"]),
            ("limit=many", vec!["limit"]),
            ("limit=18446744073709551616", vec!["limit"]),
            ("limit=1&limit=2", vec!["limit"]),
            ("cursor=nowhere", vec!["cursor"]),
            ("unheardOf=1", vec!["unheardOf"]),
            ("limit=0&cursor=%00&unheardOf=1", vec!["limit", "cursor", "unheardOf"]),
        ] {
            let request = miniapp_test_support::http::client().get(format!("{url}?{query}"));
            let answer = Answer::to(request.bearer_auth(admin.access())).await;
            assert_eq!(code(&answer), Some(Code::InvalidFields), "{answer:?}");
            let mut reported = faulty(&answer);
            reported.sort();
            let mut fields = fields;
            fields.sort_unstable();
            assert_eq!(reported, fields, "{answer:?}");
        }
    }
    let answer = Answer::to(user.api("GET", "/api/tasks?status=Nowhere")).await;
    assert_eq!(faulty(&answer), ["status"]);
    for nothing in ["id=nothing", "kind=nothing"] {
        let answer =
            Answer::to(user.api("GET", &format!("/api/tasks?{nothing}"))).await.expect(200);
        assert_eq!(answer.json()["tasks"], json!([]));
    }
    is_unmoved(&platform).await;
}

//! Requests without a token, with an invalid one, and without permission.

use miniapp_test_support::http::{Answer, client, method};
use miniapp_types::problem::Code;
use reqwest::header::HeaderValue;

use super::endpoints::{Access, ENDPOINTS, Endpoint, Service};
use super::{Callers, code, is_unmoved};
use crate::platform::support::shared;

#[tokio::test]
async fn invalid_token_is_rejected_with_reason() {
    let platform = shared().await;
    let Callers { user, .. } = Callers::at(&platform).await;
    let access = user.access();
    let [head, claims, signature]: [&str; 3] =
        access.split('.').collect::<Vec<_>>().try_into().expect("a JWT");
    // Unlike the last character, the first one of a part encodes no padding.
    let forged = |text: &str| {
        let other = if text.starts_with('A') { 'B' } else { 'A' };
        format!("{other}{}", &text[1..])
    };
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let invalid = [
        "Bearer nonsense".to_owned(),
        "Bearer a.b.c".to_owned(),
        format!("Bearer {head}.{claims}.{}", forged(signature)),
        format!("Bearer {head}.{}.{signature}", forged(claims)),
        format!("Bearer {}.{claims}.{signature}", forged(head)),
        format!("Bearer {head}.{claims}"),
        format!("Bearer {unsigned}"),
        format!("Bearer {}", user.refresh()),
        format!("Bearer {}", "x".repeat(20_000)),
    ];
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.access != Access::Public) {
        let ask = async |token: Option<HeaderValue>| {
            let url = match endpoint.service {
                Service::Auth => platform.auth(),
                Service::Api => platform.api(),
            };
            let url = format!("{url}{}", endpoint.path_with(&uuid::Uuid::nil().to_string()));
            let mut request = client().request(method(endpoint.method), url);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            if let Some(sample) = endpoint.body {
                request = request.json(&(sample.value)());
            }
            Answer::to(request).await.expect(401)
        };
        let missing = ask(None).await;
        assert_eq!(missing.header("www-authenticate"), "Bearer", "{missing:?}");
        missing.expect_problem(Code::TokenMissing);
        for token in &invalid {
            let answer = ask(Some(HeaderValue::try_from(token).expect("a value"))).await;
            assert_eq!(answer.problem().code, Code::TokenInvalid, "{token:.100} {answer:?}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{answer:?}");
        }
        let bytes = HeaderValue::from_bytes(b"Bearer \xff\xfe").expect("a value");
        ask(Some(bytes)).await.expect(401);
    }
    is_unmoved(&platform).await;
}

#[tokio::test]
async fn missing_permission_is_rejected() {
    let platform = shared().await;
    let Callers { user, .. } = Callers::at(&platform).await;
    let of_admins: Vec<&Endpoint> =
        ENDPOINTS.iter().filter(|endpoint| endpoint.access == Access::Admin).collect();
    assert!(!of_admins.is_empty());
    for endpoint in of_admins {
        let path = endpoint.path_with(&uuid::Uuid::nil().to_string());
        let request = match endpoint.service {
            Service::Auth => user.auth(endpoint.method, &path),
            Service::Api => user.api(endpoint.method, &path),
        };
        let request = match endpoint.body {
            Some(sample) => request.json(&(sample.value)()),
            None => request,
        };
        let answer = Answer::to(request).await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer)),
            (403, Some(Code::Forbidden)),
            "{answer:?}"
        );
    }
}

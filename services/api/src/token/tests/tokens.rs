//! Signatures and claims.

use serde_json::{Value, json};

use super::*;

/// One case of each class; the tests of [`miniapp_token`] are exhaustive.
#[tokio::test]
async fn forged_tokens_are_rejected() {
    let world = World::new().await;
    let good = world.auth.sign_in();
    let (header, claims) = (auth::header(1), auth::claims(&good.text));
    let with = |value: &Value, name: &str, other: Value| {
        let mut value = value.clone();
        value[name] = other;
        value
    };
    let (signed, signature) = good.text.rsplit_once('.').expect("a signature");
    let (head, _) = signed.split_once('.').expect("a body");
    let other = auth::signed(&header, &with(&claims, "roles", json!(["admin"])), 1);
    let other_body = other.split('.').nth(1).expect("a body");
    let forged = [
        String::new(),
        "a.b.c".into(),
        "\u{1F980}.\u{1F980}.\u{1F980}".into(),
        "x".repeat(10_000),
        format!("{signed}."),
        format!("{head}.{other_body}.{signature}"),
        // Signed by another key than the one named.
        auth::signed(&header, &claims, 9),
        auth::signed(&with(&header, "alg", json!("none")), &claims, 1),
        auth::signed(&with(&header, "typ", json!("JWT")), &claims, 1),
        auth::signed(&with(&header, "kid", json!("key-9")), &claims, 1),
        auth::signed(&with(&header, "crit", json!(["b64"])), &claims, 1),
        auth::signed(&header, &with(&claims, "iss", json!("someone")), 1),
        auth::signed(&header, &with(&claims, "sub", json!("ada")), 1),
    ];
    for text in forged {
        let token = Token { text, ..good.clone() };
        assert_eq!(world.error(&token).await, Some(VerifyError::Invalid), "{:.200}", token.text);
    }
    assert_eq!(world.auth.validations(), 0, "forged tokens are not introspected");
    let newer = auth::signed(&header, &with(&claims, "more", json!(1)), 1);
    assert_eq!(world.error(&Token { text: newer, ..good }).await, None);
}

#[tokio::test]
async fn expired_token_is_rejected() {
    let world = World::new().await;
    let (seen, unseen) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.error(&seen).await, None);
    world.clock.advance(Duration::from_secs(auth::TTL.unsigned_abs() - 1));
    assert_eq!(world.error(&seen).await, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.error(&seen).await, Some(VerifyError::Expired));
    assert_eq!(world.error(&unseen).await, Some(VerifyError::Expired));
}

//! What a token itself says.

use serde_json::{Value, json};

use super::*;

/// One of each sort: [`miniapp_token`] has them all.
#[tokio::test]
async fn forged_tokens_are_refused() {
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
        // Signed by someone else in the name of a known key.
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
        assert_eq!(world.refusal(&token).await, Some(VerifyError::Invalid), "{:.200}", token.text);
    }
    assert_eq!(world.auth.validations(), 0, "nothing forged reaches auth");
    let newer = auth::signed(&header, &with(&claims, "more", json!(1)), 1);
    assert_eq!(world.refusal(&Token { text: newer, ..good }).await, None);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let world = World::new().await;
    let (seen, unseen) = (world.auth.sign_in(), world.auth.sign_in());
    assert_eq!(world.refusal(&seen).await, None);
    world.clock.advance(Duration::from_secs(auth::TTL.unsigned_abs() - 1));
    assert_eq!(world.refusal(&seen).await, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.refusal(&seen).await, Some(VerifyError::Expired));
    assert_eq!(world.refusal(&unseen).await, Some(VerifyError::Expired));
}

//! Keys that come and go.

use serde_json::json;

use super::*;

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_them() {
    let world = World::new().await;
    let old = world.auth.sign_in();
    assert_eq!(world.refusal(&old).await, None);
    world.auth.rotate(2, true);
    let new = world.auth.sign_in();
    world.becomes(&new, None).await;
    assert_eq!(world.refusal(&old).await, None);
    world.auth.rotate(3, false);
    let newest = world.auth.sign_in();
    world.becomes(&newest, None).await;
    for retired in [old, new] {
        world.becomes(&retired, Some(VerifyError::Invalid)).await;
    }
}

#[tokio::test]
async fn made_up_keys_do_not_trouble_auth() {
    let world = World::new().await;
    let good = world.auth.sign_in();
    let (before, began) = (world.auth.fetches(), Instant::now());
    for number in 0..200 {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("x{number}")});
        let text = auth::signed(&header, &auth::claims(&good.text), 9);
        let token = Token { text, ..good.clone() };
        assert_eq!(world.refusal(&token).await, Some(VerifyError::Invalid));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a few");
    assert!(world.auth.fetches() - before <= seconds + 1);
    assert_eq!(world.refusal(&good).await, None);
}

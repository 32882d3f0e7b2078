use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use miniapp_types::account::{Jwk, Jwks, Role};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const INVALID: Result<Claims, TokenError> = Err(TokenError::Invalid);

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

/// The public key of `seed`.
pub(super) fn published(seed: u8) -> Jwk {
    let public = pair(seed).public_key().as_ref().try_into().expect("32 bytes");
    jwk(&format!("key-{seed}"), &public)
}

fn keys(seeds: &[u8]) -> PublicKeys {
    PublicKeys::new(&Jwks { keys: seeds.iter().map(|&seed| published(seed)).collect() })
}

pub(super) fn claims() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: Uuid::from_u128(1),
        sid: Uuid::from_u128(2),
        epoch: 3,
        login: "ada".to_owned(),
        roles: vec![Role::User],
        iat: 100,
        exp: 200,
        jti: Uuid::from_u128(4),
    }
}

fn good() -> String {
    SigningKey::new("key-1", &[1; 32]).sign(&claims()).expect("a token")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn encoded(part: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part)
}

/// A token with any header and claims, signed with the key of `seed`.
fn signed(header: &str, claims: &str, seed: u8) -> String {
    let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
    let signature = pair(seed).sign(signed.as_bytes());
    format!("{signed}.{}", encoded(signature.as_ref()))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "key-1"})
}

fn with(value: &Value, name: &str, other: Value) -> String {
    let mut value = value.clone();
    value[name] = other;
    value.to_string()
}

fn without(value: &Value, name: &str) -> String {
    let mut value = value.clone();
    value.as_object_mut().expect("an object").remove(name);
    value.to_string()
}

/// The same object with a duplicate member `name`.
fn twice(value: &Value, name: &str) -> String {
    let text = value.to_string();
    format!("{},\"{name}\":{}}}", text.trim_end_matches('}'), value[name])
}

fn assert_all_invalid(tokens: impl IntoIterator<Item = String>) {
    let keys = keys(&[1, 2]);
    for token in tokens {
        assert_eq!(keys.verify(&token, at(100)), INVALID, "{token:.200}");
    }
}

#[test]
fn token_is_valid_until_it_expires() {
    let (keys, token) = (keys(&[2, 1]), good());
    assert_eq!(UnverifiedToken::parse(&token).expect("valid header").kid, "key-1");
    assert_eq!(keys.verify(&token, at(199)), Ok(claims()));
    assert_eq!(keys.verify(&token, at(200)), Err(TokenError::Expired));
}

#[test]
fn token_format_is_stable() {
    let token = good();
    let parts = token.split('.').take(2);
    let parts = parts.map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64"));
    let parts = parts.map(|part| serde_json::from_slice::<Value>(&part).expect("JSON"));
    let claims = json!({
        "iss": "miniapp", "login": "ada", "roles": ["user"], "epoch": 3, "iat": 100, "exp": 200,
        "sub": "00000000-0000-0000-0000-000000000001",
        "sid": "00000000-0000-0000-0000-000000000002",
        "jti": "00000000-0000-0000-0000-000000000004",
    });
    assert_eq!(parts.collect::<Vec<_>>(), [header(), claims]);
}

#[test]
fn only_the_named_key_verifies() {
    let token = good();
    assert_eq!(keys(&[]).verify(&token, at(100)), INVALID);
    assert_eq!(keys(&[2]).verify(&token, at(100)), INVALID);
    // Another key of the same name.
    let other = PublicKeys::new(&Jwks { keys: vec![Jwk { x: published(2).x, ..published(1) }] });
    assert_eq!(other.verify(&token, at(100)), INVALID);
    // Signed with another key than the named one.
    assert_all_invalid(
        [2, 9].map(|seed| signed(&header().to_string(), &json!(claims()).to_string(), seed)),
    );
}

#[test]
fn malformed_token_is_rejected() {
    let token = good();
    let (signed_part, signature) = token.rsplit_once('.').expect("a signature");
    let (head, body) = signed_part.split_once('.').expect("a body");
    let other =
        signed(&header().to_string(), &with(&json!(claims()), "roles", json!(["admin"])), 1);
    let other_body = other.split('.').nth(1).expect("a body");
    let unsigned = encoded(br#"{"alg":"none","typ":"at+jwt"}"#);
    assert_all_invalid([
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        "\u{0}".into(),
        "\u{1F980}.\u{1F980}.\u{1F980}".into(),
        "x".repeat(100_000),
        signed_part.to_owned(),
        format!("{token}.x"),
        format!("{token}="),
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}==.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{signed_part}."),
        format!("{signed_part}.{}", signature.to_lowercase()),
        format!("{signed_part}.{}", &signature[..80]),
        format!("{head}.{other_body}.{signature}"),
        format!("{body}.{body}.{signature}"),
        format!("{unsigned}.{body}."),
        format!("{unsigned}.{body}.{signature}"),
    ]);
}

#[test]
fn other_headers_are_rejected() {
    let (header, claims) = (header(), json!(claims()).to_string());
    let headers = [
        with(&header, "alg", json!("none")),
        with(&header, "alg", json!("HS256")),
        with(&header, "alg", json!("ES256")),
        with(&header, "alg", json!("Ed25519")),
        with(&header, "alg", json!("eddsa")),
        with(&header, "typ", json!("JWT")),
        with(&header, "typ", json!("AT+JWT")),
        with(&header, "kid", json!("key-9")),
        with(&header, "kid", json!(1)),
        with(&header, "crit", json!(["b64"])),
        with(&header, "crit", json!([])),
        without(&header, "alg"),
        without(&header, "typ"),
        without(&header, "kid"),
        twice(&header, "alg"),
        twice(&header, "typ"),
        twice(&header, "kid"),
        "[]".to_owned(),
        r#"["EdDSA","at+jwt","key-1",null]"#.to_owned(),
        "{".to_owned(),
    ];
    assert_all_invalid(headers.map(|header| signed(&header, &claims, 1)));
}

#[test]
fn incomplete_claims_are_rejected() {
    let (header, claims) = (header().to_string(), json!(claims()));
    let mut wrong = vec![
        with(&claims, "iss", json!("someone")),
        with(&claims, "iss", json!(["miniapp"])),
        with(&claims, "sub", json!("ada")),
        with(&claims, "epoch", json!(-1)),
        with(&claims, "epoch", json!(1_u64 << 32)),
        with(&claims, "roles", json!("admin")),
        with(&claims, "exp", json!("tomorrow")),
        with(&claims, "exp", json!(200.5)),
        "\"text\"".to_owned(),
        "{".to_owned(),
    ];
    for name in claims.as_object().expect("an object").keys() {
        wrong.push(without(&claims, name));
        wrong.push(twice(&claims, name));
    }
    assert_all_invalid(wrong.iter().map(|claims| signed(&header, claims, 1)));
}

#[test]
fn unknown_claims_and_roles_are_ignored() {
    let verify =
        |header: &str, claims: &str| keys(&[1]).verify(&signed(header, claims, 1), at(100));
    let (plain_header, plain_claims) = (header().to_string(), json!(claims()));
    assert_eq!(verify(&plain_header, &with(&plain_claims, "more", json!(1))), Ok(claims()));
    let roles = json!(["auditor", "user", "robot"]);
    assert_eq!(verify(&plain_header, &with(&plain_claims, "roles", roles)), Ok(claims()));
    let header = with(&header(), "more", json!({"a": [1]}));
    assert_eq!(verify(&header, &plain_claims.to_string()), Ok(claims()));
}

#[test]
fn token_length_is_limited() {
    let of_length = |length: usize| {
        let token = signed(&header().to_string(), &with(&json!(claims()), "more", json!("")), 1);
        // Four characters of a token hold three bytes.
        let more = "x".repeat((length - token.len()) / 4 * 3);
        signed(&header().to_string(), &with(&json!(claims()), "more", json!(more)), 1)
    };
    let max = *miniapp_types::limits::TOKEN.end();
    let (fits, exceeds) = (of_length(max), of_length(max + 4));
    assert!(fits.len() <= max && exceeds.len() > max);
    assert_eq!(keys(&[1]).verify(&fits, at(100)), Ok(claims()));
    assert_all_invalid([exceeds]);
}

#[test]
fn other_keys_are_ignored() {
    let good = published(1);
    let short = encoded(&[1; 31]);
    let others = [
        Jwk { kty: "EC".into(), ..good.clone() },
        Jwk { crv: "X25519".into(), ..good.clone() },
        Jwk { x: format!("{}=", good.x), ..good.clone() },
        Jwk { x: short, ..good.clone() },
        Jwk { x: String::new(), ..good.clone() },
    ];
    for jwk in &others {
        assert!(PublicKey::new(jwk).is_none(), "{jwk:?}");
    }
    let known = PublicKeys::new(&Jwks { keys: [vec![good], others[..2].to_vec()].concat() });
    assert_eq!(known.kids().collect::<Vec<_>>(), ["key-1"]);
    assert!(known.get("key-1").is_some() && known.get("key-2").is_none() && !known.is_empty());
}

proptest::proptest! {
    #[test]
    fn any_text_is_rejected(text in "\\PC{0,200}") {
        proptest::prop_assert_eq!(keys(&[1]).verify(&text, at(100)), INVALID);
    }

    #[test]
    fn changed_token_is_rejected(position in 0_usize..200, byte in b'0'..=b'z') {
        let token = good();
        let mut bytes = token.clone().into_bytes();
        let position = position % bytes.len();
        proptest::prop_assume!(bytes[position] != byte);
        bytes[position] = byte;
        let changed = String::from_utf8(bytes).expect("ASCII");
        proptest::prop_assert_eq!(keys(&[1]).verify(&changed, at(100)), INVALID);
    }
}

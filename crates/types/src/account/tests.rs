use serde_json::{Value, json};

use super::*;
use crate::fields::{BodyError, FromFields};

fn rejected_fields<T: FromFields>(body: Value) -> Vec<String> {
    match T::from_body(body) {
        Err(BodyError::Fields(errors)) => errors.into_iter().map(|f| f.field).collect(),
        Err(BodyError::NotAnObject) => vec!["not an object".to_owned()],
        Ok(_) => Vec::new(),
    }
}

#[test]
fn debug_output_hides_secrets() {
    let sign_in = SignIn::from_body(json!({"login": "ada", "password": "pa55word"}));
    assert!(!format!("{sign_in:?}").contains("pa55word"));
}

#[test]
fn sign_in_takes_a_password_or_a_refresh_token() {
    let refresh = SignIn::from_body(json!({"refreshToken": "t"}));
    let expected = Refresh { refresh_token: Secret::new("t") };
    assert_eq!(refresh, Ok(SignIn::Refresh(expected)));
    let rejected = rejected_fields::<SignIn>;
    assert_eq!(rejected(json!({})), ["login", "password"]);
    assert_eq!(
        rejected(json!({"login": "ada", "refreshToken": "t"})),
        ["password", "refreshToken"]
    );
    assert_eq!(rejected(json!({"refreshToken": 5})), ["refreshToken"]);
}

#[test]
fn client_is_visible_ascii() {
    let sign_in = |client: Value| json!({"login": "ada", "password": "x", "client": client});
    let longest = "~".repeat(64);
    for (client, expected) in
        [(json!("!"), Some("!")), (json!(longest), Some(longest.as_str())), (json!(null), None)]
    {
        let expected = PasswordSignIn {
            login: "ada".to_owned(),
            password: Secret::new("x"),
            client: expected.map(str::to_owned),
        };
        assert_eq!(SignIn::from_body(sign_in(client)), Ok(SignIn::Password(expected)));
    }
    let too_long = "c".repeat(65);
    for client in [json!(""), json!(too_long), json!("my phone"), json!("k\u{fc}che"), json!(1)] {
        assert_eq!(rejected_fields::<SignIn>(sign_in(client)), ["client"]);
    }
    // A refresh keeps the client of its session.
    let refresh = json!({"refreshToken": "t", "client": "cli"});
    assert_eq!(rejected_fields::<SignIn>(refresh), ["client"]);
}

#[test]
fn validate_accepts_a_bare_token() {
    let expected = Ok(Validate { token: Secret::new("t") });
    assert_eq!(Validate::from_body(json!("t")), expected);
    assert_eq!(Validate::from_body(json!({"token": "t"})), expected);
    assert_eq!(rejected_fields::<Validate>(json!("")), ["token"]);
    assert_eq!(rejected_fields::<Validate>(json!(5)), ["not an object"]);
}

#[test]
fn roles_are_known_and_deduplicated() {
    let set = SetRoles::from_body(json!({"roles": ["admin", "user", "admin"]}));
    assert_eq!(set, Ok(SetRoles { roles: vec![Role::User, Role::Admin] }));
    let rejected = rejected_fields::<SetRoles>;
    assert_eq!(rejected(json!({"roles": []})), ["roles"]);
    assert_eq!(rejected(json!({"roles": ["user", "root"]})), ["roles[1]"]);
    assert_eq!(rejected(json!({"roles": "admin"})), ["roles"]);
}

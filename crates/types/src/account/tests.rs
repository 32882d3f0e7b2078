//! Bodies that read themselves.

use serde_json::{Value, json};

use super::*;
use crate::fields::{BodyError, FromFields};

fn faulty_fields<T: FromFields>(body: Value) -> Vec<String> {
    match T::from_body(body) {
        Err(BodyError::Fields(faults)) => faults.into_iter().map(|f| f.field).collect(),
        Err(BodyError::NotAnObject) => vec!["not an object".to_owned()],
        Ok(_) => Vec::new(),
    }
}

#[test]
fn secrets_dont_show_when_printed() {
    let sign_in = SignIn::from_body(json!({"login": "ada", "password": "pa55word"}));
    assert!(!format!("{sign_in:?}").contains("pa55word"));
}

#[test]
fn a_sign_in_is_with_a_password_or_a_refresh_token() {
    let refresh = SignIn::from_body(json!({"refreshToken": "t"}));
    assert_eq!(refresh, Ok(SignIn::Refresh { refresh_token: Secret::new("t") }));
    let faults = faulty_fields::<SignIn>;
    assert_eq!(faults(json!({})), ["login", "password"]);
    assert_eq!(faults(json!({"login": "ada", "refreshToken": "t"})), ["password", "refreshToken"]);
    assert_eq!(faults(json!({"refreshToken": 5})), ["refreshToken"]);
}

#[test]
fn a_token_may_come_alone() {
    let expected = Ok(Validate { token: Secret::new("t") });
    assert_eq!(Validate::from_body(json!("t")), expected);
    assert_eq!(Validate::from_body(json!({"token": "t"})), expected);
    assert_eq!(faulty_fields::<Validate>(json!("")), ["token"]);
    assert_eq!(faulty_fields::<Validate>(json!(5)), ["not an object"]);
}

#[test]
fn roles_are_known_ones_and_each_counts_once() {
    let set = SetRoles::from_body(json!({"roles": ["admin", "user", "admin"]}));
    assert_eq!(set, Ok(SetRoles { roles: vec![Role::User, Role::Admin] }));
    let faults = faulty_fields::<SetRoles>;
    assert_eq!(faults(json!({"roles": []})), ["roles"]);
    assert_eq!(faults(json!({"roles": ["user", "root"]})), ["roles[1]"]);
    assert_eq!(faults(json!({"roles": "admin"})), ["roles"]);
}

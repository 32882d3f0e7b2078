//! Validated requests.

use jiff::civil::{Date, date};
use miniapp_types::account::Secret;
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, Fields, FromFields};
use miniapp_types::limits;

use crate::email::Email;
use crate::login::Login;
use crate::operations::AccountChanges;
use crate::password::Password;

const TOKEN_FIELD: &str = "registrationToken";
const EARLIEST_BIRTH: Date = date(1900, 1, 1);

/// The address that a code is sent to; see [`miniapp_types::account::SendCode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee(pub Email);

impl FromFields for Addressee {
    fn read(fields: &mut Fields) -> Option<Self> {
        Email::read(fields, "email").map(Self)
    }

    fn from_body(body: impl Into<JsonBody>) -> Result<Self, BodyError> {
        Fields::read_body(body.into().wrap_bare_text("email"))
    }
}

/// An address with a code; see [`miniapp_types::account::VerifyEmail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    pub email: Email,
    pub code: Secret,
}

impl FromFields for Verification {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = Email::read(fields, "email");
        let code = read_code(fields);
        Some(Self { email: email?, code: code? })
    }
}

/// See [`miniapp_types::account::Register`].
#[derive(Clone, Debug)]
pub struct Registration {
    pub email: Email,
    /// The token of the verification. It may also come in a cookie.
    pub token: Option<Secret>,
    pub login: Login,
    pub password: Password,
    pub birth_date: Option<Date>,
    pub phone_number: Option<String>,
}

impl FromFields for Registration {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = Email::read(fields, "email");
        let token = fields.optional(|f| f.text(TOKEN_FIELD, limits::TOKEN), TOKEN_FIELD);
        let login = Login::read(fields, "login");
        let typed = fields.peek_text("password");
        let names: Vec<&str> =
            login.iter().map(Login::as_str).chain(email.iter().flat_map(Email::names)).collect();
        let password = Password::read_new(fields, "password", &names);
        let confirm = fields.optional(
            |f| f.text("passwordConfirm", 0..=4 * limits::PASSWORD.end()),
            "passwordConfirm",
        );
        if confirm.is_some() && confirm != typed {
            fields.reject("passwordConfirm", "must be the same as password");
        }
        let birth_date = fields.optional(read_birth_date, "birthDate");
        let phone_number = fields.optional(read_phone_number, "phoneNumber");
        Some(Self {
            email: email?,
            token: token.map(Secret::new),
            login: login?,
            password: password?,
            birth_date,
            phone_number,
        })
    }
}

impl FromFields for AccountChanges {
    /// See [`miniapp_types::account::UpdateAccount`].
    fn read(fields: &mut Fields) -> Option<Self> {
        let login = fields.optional(|f| Login::read(f, "login"), "login");
        let birth_date = fields.nullable(read_birth_date, "birthDate");
        let phone_number = fields.nullable(read_phone_number, "phoneNumber");
        Some(Self { login, birth_date, phone_number })
    }
}

/// A new password with the old one; see [`miniapp_types::account::ChangePassword`].
#[derive(Clone, Debug)]
pub struct NewPassword {
    pub old: Password,
    pub new: Password,
}

impl FromFields for NewPassword {
    fn read(fields: &mut Fields) -> Option<Self> {
        let old = fields.text("password", limits::PASSWORD);
        let new = Password::read_new(fields, "newPassword", &[]);
        Some(Self { old: Password::new(&old?), new: new? })
    }
}

/// A new password with a reset code; see [`miniapp_types::account::ConfirmReset`].
#[derive(Clone, Debug)]
pub struct ResetConfirmation {
    pub verification: Verification,
    pub new: Password,
}

impl FromFields for ResetConfirmation {
    fn read(fields: &mut Fields) -> Option<Self> {
        let verification = Verification::read(fields);
        let email = verification.iter().map(|verification| &verification.email);
        let names: Vec<&str> = email.flat_map(Email::names).collect();
        let new = Password::read_new(fields, "newPassword", &names);
        Some(Self { verification: verification?, new: new? })
    }
}

fn read_code(fields: &mut Fields) -> Option<Secret> {
    // Users copy surrounding spaces.
    fields.text("code", limits::CODE).map(|code| Secret::new(code.trim()))
}

fn read_birth_date(fields: &mut Fields) -> Option<Date> {
    let date = fields.date("birthDate")?;
    if date < EARLIEST_BIRTH {
        fields.reject("birthDate", format_args!("must not be before {EARLIEST_BIRTH}"));
        return None;
    }
    Some(date)
}

fn read_phone_number(fields: &mut Fields) -> Option<String> {
    let text = fields.text("phoneNumber", limits::PHONE)?;
    let digits = text.chars().filter(char::is_ascii_digit).count();
    // ITU-T E.164: at most 15 digits.
    let is_number = (3..=15).contains(&digits)
        && text.chars().all(|c| c.is_ascii_digit() || "+ -()./".contains(c))
        && text.rfind('+').is_none_or(|position| position == 0);
    if !is_number {
        fields.reject("phoneNumber", "must be a phone number such as +44 20 7946 0000");
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rejected_fields<T: FromFields>(body: Value) -> Vec<String> {
        match T::from_body(body) {
            Err(BodyError::Fields(errors)) => errors.into_iter().map(|f| f.field).collect(),
            Err(BodyError::NotAnObject) => vec!["not an object".to_owned()],
            Ok(_) => Vec::new(),
        }
    }

    fn registration() -> Value {
        json!({
            "email": "Ada@example.com",
            "login": "Ada",
            "password": "correct horse battery",
            "passwordConfirm": "correct horse battery",
            "birthDate": "1990-01-31",
            "phoneNumber": "+44 (20) 7946-0000",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = registration();
        body[field] = value;
        body
    }

    #[test]
    fn registration_is_parsed() {
        let read = Registration::from_body(registration()).expect("readable");
        assert_eq!(read.email.as_str(), "ada@example.com");
        assert_eq!(read.birth_date, Some(date(1990, 1, 31)));
    }

    #[test]
    fn registration_rejects_invalid_fields() {
        let cases = [
            ("email", json!("ada@example.com\r\nBcc: x@y.z")),
            ("email", json!(null)),
            ("registrationToken", json!("")),
            ("registrationToken", json!(7)),
            ("login", json!("a b")),
            ("login", json!("\u{430}lice")),
            ("login", json!("ad")),
            ("password", json!("short")),
            ("password", json!("password123")),
            ("password", json!(["correct horse battery"])),
            ("passwordConfirm", json!("correct horse batterx")),
            ("passwordConfirm", json!(7)),
            ("birthDate", json!("1990-02-31")),
            ("birthDate", json!("1066-10-14")),
            ("phoneNumber", json!("call me")),
            ("phoneNumber", json!("12+34567")),
            ("admin", json!(true)),
        ];
        for (field, value) in cases {
            let rejected = rejected_fields::<Registration>(with(field, value.clone()));
            assert!(rejected.contains(&field.to_owned()), "{field} {value}: {rejected:?}");
        }
    }

    #[test]
    fn registration_reports_all_errors_at_once() {
        let body = json!({"email": "x", "login": "!", "password": "short", "birthDate": 1, "z": 1});
        let rejected = rejected_fields::<Registration>(body);
        assert_eq!(rejected, ["email", "login", "password", "birthDate", "z"]);
    }

    #[test]
    fn password_containing_login_is_rejected() {
        let body = json!({
            "email": "x@example.com", "login": "lovelace", "password": "xx-Lovelace-7!",
        });
        assert_eq!(rejected_fields::<Registration>(body), ["password"]);
    }

    #[test]
    fn addressee_accepts_bare_string() {
        let alone = Addressee::from_body(json!("Ada@example.com")).expect("readable");
        assert_eq!(alone.0.as_str(), "ada@example.com");
        assert_eq!(rejected_fields::<Addressee>(json!("ada")), ["email"]);
        assert_eq!(rejected_fields::<Addressee>(json!(["ada@example.com"])), ["not an object"]);
    }

    #[test]
    fn update_distinguishes_null_from_absent() {
        let changes = AccountChanges::from_body(json!({"birthDate": null})).expect("readable");
        assert_eq!(changes.birth_date, Some(None));
        assert_eq!(changes.phone_number, None);
        assert_eq!(rejected_fields::<AccountChanges>(json!({"email": "a@b.c"})), ["email"]);
    }
}

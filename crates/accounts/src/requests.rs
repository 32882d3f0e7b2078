//! What clients ask for, once it has been read: every value follows its rules.

use jiff::civil::{Date, date};
use miniapp_types::account::{MAX_PASSWORD, Secret};
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, Fields, FromFields};

use crate::email::Email;
use crate::login::Login;
use crate::password::Password;
use crate::store::AccountChanges;

/// Nobody alive is older.
const EARLIEST_BIRTH: Date = date(1900, 1, 1);
/// More characters than any code has: the others are simply wrong.
const MAX_CODE: usize = 64;
/// Longest phone number as people write them, in characters.
const MAX_PHONE: usize = 32;

/// An address that a code is asked for; [`miniapp_types::account::SendCode`].
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

/// An address with the code that was sent there; [`miniapp_types::account::VerifyEmail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The address.
    pub email: Email,
    /// What was typed.
    pub code: Secret,
}

impl FromFields for Verification {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = Email::read(fields, "email");
        let code = read_code(fields);
        Some(Self { email: email?, code: code? })
    }
}

/// An account that someone wants; [`miniapp_types::account::Register`].
#[derive(Clone, Debug)]
pub struct Registration {
    /// The address.
    pub email: Email,
    /// The login.
    pub login: Login,
    /// The password.
    pub password: Password,
    /// The day of birth.
    pub birth_date: Option<Date>,
    /// The phone number.
    pub phone_number: Option<String>,
}

impl FromFields for Registration {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = Email::read(fields, "email");
        let login = Login::read(fields, "login");
        let typed = fields.peek_text("password");
        let names: Vec<&str> =
            login.iter().map(Login::key).chain(email.iter().flat_map(Email::names)).collect();
        let password = Password::read_new(fields, "password", &names);
        let confirm =
            fields.optional(|f| f.text("passwordConfirm", 0..=4 * MAX_PASSWORD), "passwordConfirm");
        if confirm.is_some() && confirm != typed {
            fields.reject("passwordConfirm", "must be the same as password");
        }
        let birth_date = fields.optional(read_birth_date, "birthDate");
        let phone_number = fields.optional(read_phone_number, "phoneNumber");
        Some(Self { email: email?, login: login?, password: password?, birth_date, phone_number })
    }
}

impl FromFields for AccountChanges {
    /// [`miniapp_types::account::UpdateAccount`].
    fn read(fields: &mut Fields) -> Option<Self> {
        let login = fields.optional(|f| Login::read(f, "login"), "login");
        let birth_date = fields.nullable(read_birth_date, "birthDate");
        let phone_number = fields.nullable(read_phone_number, "phoneNumber");
        Some(Self { login, birth_date, phone_number })
    }
}

/// A new password, with the old one; [`miniapp_types::account::ChangePassword`].
#[derive(Clone, Debug)]
pub struct NewPassword {
    /// The old one, as typed.
    pub old: Password,
    /// The new one.
    pub new: Password,
}

impl FromFields for NewPassword {
    fn read(fields: &mut Fields) -> Option<Self> {
        let old = fields.text("password", 1..=MAX_PASSWORD);
        let new = Password::read_new(fields, "newPassword", &[]);
        Some(Self { old: Password::typed(&old?), new: new? })
    }
}

/// A new password, with a code instead of the old one;
/// [`miniapp_types::account::ConfirmReset`].
#[derive(Clone, Debug)]
pub struct ResetConfirmation {
    /// The address and the code.
    pub verification: Verification,
    /// The new password.
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
    // People copy spaces along.
    fields.text("code", 1..=MAX_CODE).map(|code| Secret::new(code.trim()))
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
    let text = fields.text("phoneNumber", 1..=MAX_PHONE)?;
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

    fn faulty_fields<T: FromFields>(body: Value) -> Vec<String> {
        match T::from_body(body) {
            Err(BodyError::Fields(faults)) => faults.into_iter().map(|f| f.field).collect(),
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
    fn a_registration_is_read_whole() {
        let read = Registration::from_body(registration()).expect("readable");
        assert_eq!(read.email.as_str(), "ada@example.com");
        assert_eq!(read.birth_date, Some(date(1990, 1, 31)));
    }

    #[test]
    fn each_field_has_its_rules() {
        let cases = [
            ("email", json!("ada@example.com\r\nBcc: x@y.z")),
            ("email", json!(null)),
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
            let faulty = faulty_fields::<Registration>(with(field, value.clone()));
            assert!(faulty.contains(&field.to_owned()), "{field} {value}: {faulty:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let body = json!({"email": "x", "login": "!", "password": "short", "birthDate": 1, "z": 1});
        let faulty = faulty_fields::<Registration>(body);
        assert_eq!(faulty, ["email", "login", "password", "birthDate", "z"]);
    }

    #[test]
    fn a_password_made_of_the_login_is_refused() {
        let body = json!({
            "email": "x@example.com", "login": "lovelace", "password": "xx-Lovelace-7!",
        });
        assert_eq!(faulty_fields::<Registration>(body), ["password"]);
    }

    #[test]
    fn an_address_may_come_alone() {
        let alone = Addressee::from_body(json!("Ada@example.com")).expect("readable");
        assert_eq!(alone.0.as_str(), "ada@example.com");
        assert_eq!(faulty_fields::<Addressee>(json!("ada")), ["email"]);
        assert_eq!(faulty_fields::<Addressee>(json!(["ada@example.com"])), ["not an object"]);
    }

    #[test]
    fn an_update_tells_null_from_absence() {
        let changes = AccountChanges::from_body(json!({"birthDate": null})).expect("readable");
        assert_eq!(changes.birth_date, Some(None));
        assert_eq!(changes.phone_number, None);
        assert_eq!(faulty_fields::<AccountChanges>(json!({"email": "a@b.c"})), ["email"]);
    }
}

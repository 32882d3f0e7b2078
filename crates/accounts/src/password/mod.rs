//! Passwords: which are acceptable, and how they are hashed.

mod hasher;

use std::fmt;

use miniapp_types::fields::Fields;
use miniapp_types::limits;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;
use zxcvbn::Score;

pub use hasher::{Busy, Client, HasherPermit, PasswordHash, PasswordHasher};

/// In characters.
/// How many characters the estimate looks at: its cost grows fast, and a longer password is
/// no easier to guess.
const ESTIMATED_LENGTH: usize = 40;
/// Shorter names may be part of ordinary words.
const MIN_NAME: usize = 4;

/// A password in NFC, because keyboards encode the same character in different ways.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.nfc().collect()))
    }

    /// Reads a new password of a user with these names from a field of a request body. The
    /// check of its strength is too slow for async threads.
    pub fn read_new(fields: &mut Fields, name: &str, names: &[&str]) -> Option<Self> {
        let text = Zeroizing::new(fields.text(name, limits::NEW_PASSWORD)?);
        let password = Self::new(&text);
        if let Err(message) = password.check_strength(names) {
            fields.reject(name, message);
            return None;
        }
        Some(password)
    }

    /// Rejects a password that contains one of the user's names or is easy to guess. The
    /// error is a message for the user. Too slow for async threads.
    pub fn check_strength(&self, names: &[&str]) -> Result<(), &'static str> {
        let password = self.0.to_lowercase();
        let contains = |name: &&str| {
            name.chars().count() >= MIN_NAME && password.contains(&name.to_lowercase())
        };
        if names.iter().any(contains) {
            return Err(PERSONAL);
        }
        let start: Zeroizing<String> =
            Zeroizing::new(self.0.chars().take(ESTIMATED_LENGTH).collect());
        if zxcvbn::zxcvbn(&start, names).score() < Score::Two { Err(COMMON) } else { Ok(()) }
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

const COMMON: &str = "is too easily guessed; a few unusual words make a good one";
const PERSONAL: &str = "must not be made of the login or the e-mail address";

#[cfg(test)]
mod tests {
    use miniapp_types::fields::{BodyError, FromFields};
    use serde_json::json;

    use super::*;

    struct NewPassword;

    impl FromFields for NewPassword {
        fn read(fields: &mut Fields) -> Option<Self> {
            Password::read_new(fields, "password", &[]).map(|_| Self)
        }
    }

    fn rejection(password: &str) -> Option<String> {
        match NewPassword::from_body(json!({ "password": password })) {
            Err(BodyError::Fields(mut errors)) => errors.pop().map(|error| error.message),
            _ => None,
        }
    }

    #[test]
    fn common_passwords_are_rejected() {
        for password in ["password123", "qwertyuiop", "1234567890", "aaaaaaaaaaaa", "letmein1234"] {
            assert_eq!(rejection(password).as_deref(), Some(COMMON), "{password}");
        }
        for password in ["correct horse battery", "Tr0ub4dor&3x", "пароль с пробелами"]
        {
            assert_eq!(rejection(password), None, "{password}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        let message = Some("must have 10 to 256 characters".to_owned());
        assert_eq!(rejection("жираф-ёж9"), message);
        assert_eq!(rejection(&"x7-".repeat(86)), message);
        assert_eq!(rejection("жираф-ёж-9"), None);
    }

    #[test]
    fn passwords_containing_names_are_rejected() {
        let password = Password::new("xX-Lovelace-Xx");
        assert_eq!(password.check_strength(&["lovelace", "ada@example.com"]), Err(PERSONAL));
        assert_eq!(password.check_strength(&["babbage", "ada@example.com"]), Ok(()));
        assert_eq!(Password::new("canada goose 77 wing").check_strength(&["ada"]), Ok(()));
        assert_eq!(Password::new("adaadaada1").check_strength(&["ada"]), Err(COMMON));
    }

    #[test]
    fn strength_of_long_password_depends_on_its_start() {
        assert!(Password::new(&"ab".repeat(100)).check_strength(&[]).is_err());
        let hard = "4@8({[<369&#!1/|0$5+7%2".repeat(11);
        assert_eq!(Password::new(&hard).check_strength(&[]), Ok(()));
    }

    #[test]
    fn composed_and_decomposed_passwords_are_equal() {
        assert_eq!(Password::new("caf\u{e9}").as_bytes(), Password::new("cafe\u{301}").as_bytes());
    }
}

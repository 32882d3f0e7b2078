//! Passwords: which ones are taken, and how they are kept.

mod hasher;

use std::fmt;

use contracts::account::MAX_PASSWORD;
use contracts::fields::Fields;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;
use zxcvbn::Score;

pub use hasher::{Busy, Hash, Passwords, Turn};

/// Shortest password, in characters.
const MIN_PASSWORD: usize = 10;
/// A name this short may well be part of a longer word.
const MIN_NAME: usize = 4;

/// A password in the form that is hashed: keyboards write the same character in
/// different ways, composing makes them one.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes what was typed.
    pub fn typed(text: &str) -> Self {
        Self(Zeroizing::new(text.nfc().collect()))
    }

    /// Reads a password that someone wants from a field of a body. It must be long
    /// enough and not easily guessed.
    pub fn read_new(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = Zeroizing::new(fields.text(name, MIN_PASSWORD..=MAX_PASSWORD)?);
        let password = Self::typed(&text);
        if zxcvbn::zxcvbn(&password.0, &[]).score() < Score::Two {
            fields.fault(name, COMMON);
            return None;
        }
        Some(password)
    }

    /// Whether one of its owner's names is in it, or it is easily guessed by someone who
    /// knows them.
    pub fn is_like(&self, names: &[&str]) -> bool {
        let password = self.0.to_lowercase();
        let contains = |name: &&str| {
            name.chars().count() >= MIN_NAME && password.contains(&name.to_lowercase())
        };
        names.iter().any(contains) || zxcvbn::zxcvbn(&self.0, names).score() < Score::Two
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

/// What is said about a password that many people would try.
const COMMON: &str = "is too easily guessed; a few unusual words make a good one";
/// What is said about a password made of its owner's names.
pub const PERSONAL: &str = "must not be made of the login or the e-mail address";

#[cfg(test)]
mod tests {
    use contracts::fields::{BodyFault, FromFields};
    use serde_json::json;

    use super::*;

    struct Wanted;

    impl FromFields for Wanted {
        fn read(fields: &mut Fields) -> Option<Self> {
            Password::read_new(fields, "password").map(|_| Self)
        }
    }

    fn fault(password: &str) -> Option<String> {
        match Wanted::from_body(json!({ "password": password })) {
            Err(BodyFault::Fields(mut faults)) => faults.pop().map(|fault| fault.message),
            _ => None,
        }
    }

    #[test]
    fn common_passwords_are_refused() {
        for password in ["password123", "qwertyuiop", "1234567890", "aaaaaaaaaaaa", "letmein1234"] {
            assert_eq!(fault(password).as_deref(), Some(COMMON), "{password}");
        }
        for password in ["correct horse battery", "Tr0ub4dor&3x", "пароль с пробелами"]
        {
            assert_eq!(fault(password), None, "{password}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        let says = Some("must have 10 to 256 characters".to_owned());
        assert_eq!(fault("жираф-ёж9"), says);
        assert_eq!(fault(&"x7-".repeat(86)), says);
        assert_eq!(fault("жираф-ёж-9"), None);
    }

    #[test]
    fn a_password_isnt_made_of_its_owners_names() {
        let password = Password::typed("xX-Lovelace-Xx");
        assert!(password.is_like(&["lovelace", "ada@example.com"]));
        assert!(!password.is_like(&["babbage", "ada@example.com"]));
        assert!(!Password::typed("canada goose 77 wing").is_like(&["ada"]));
    }

    #[test]
    fn composing_makes_spellings_one() {
        assert_eq!(
            Password::typed("caf\u{e9}").as_bytes(),
            Password::typed("cafe\u{301}").as_bytes()
        );
    }
}

//! Passwords: which ones are taken, and how they are kept.

mod hasher;

use std::fmt;

use miniapp_types::account::MAX_PASSWORD;
use miniapp_types::fields::Fields;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;
use zxcvbn::Score;

pub use hasher::{Busy, Hash, Passwords, Turn};

/// Shortest password, in characters.
const MIN_PASSWORD: usize = 10;
/// How many characters are judged: the whole is no easier to guess, and the time that
/// judging takes grows fast.
const JUDGED: usize = 40;
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

    /// Reads a password that someone with these names wants from a field of a body. It
    /// must be long enough and not easily guessed, which takes so long to judge that it
    /// must not be done on async threads.
    pub fn read_new(fields: &mut Fields, name: &str, names: &[&str]) -> Option<Self> {
        let text = Zeroizing::new(fields.text(name, MIN_PASSWORD..=MAX_PASSWORD)?);
        let password = Self::typed(&text);
        if let Err(fault) = password.judge(names) {
            fields.reject(name, fault);
            return None;
        }
        Some(password)
    }

    /// What is wrong with it for someone who has these names: it contains one, or is
    /// easily guessed by whoever knows them. To be asked off the async threads.
    pub fn judge(&self, names: &[&str]) -> Result<(), &'static str> {
        let password = self.0.to_lowercase();
        let contains = |name: &&str| {
            name.chars().count() >= MIN_NAME && password.contains(&name.to_lowercase())
        };
        if names.iter().any(contains) {
            return Err(PERSONAL);
        }
        let judged: Zeroizing<String> = Zeroizing::new(self.0.chars().take(JUDGED).collect());
        if zxcvbn::zxcvbn(&judged, names).score() < Score::Two { Err(COMMON) } else { Ok(()) }
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
const PERSONAL: &str = "must not be made of the login or the e-mail address";

#[cfg(test)]
mod tests {
    use miniapp_types::fields::{BodyError, FromFields};
    use serde_json::json;

    use super::*;

    struct Wanted;

    impl FromFields for Wanted {
        fn read(fields: &mut Fields) -> Option<Self> {
            Password::read_new(fields, "password", &[]).map(|_| Self)
        }
    }

    fn fault(password: &str) -> Option<String> {
        match Wanted::from_body(json!({ "password": password })) {
            Err(BodyError::Fields(mut faults)) => faults.pop().map(|fault| fault.message),
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
        assert_eq!(password.judge(&["lovelace", "ada@example.com"]), Err(PERSONAL));
        assert_eq!(password.judge(&["babbage", "ada@example.com"]), Ok(()));
        assert_eq!(Password::typed("canada goose 77 wing").judge(&["ada"]), Ok(()));
        assert_eq!(Password::typed("adaadaada1").judge(&["ada"]), Err(COMMON));
    }

    #[test]
    fn a_long_password_is_judged_by_its_beginning() {
        assert!(Password::typed(&"ab".repeat(100)).judge(&[]).is_err());
        let hard = "4@8({[<369&#!1/|0$5+7%2".repeat(11);
        assert_eq!(Password::typed(&hard).judge(&[]), Ok(()));
    }

    #[test]
    fn composing_makes_spellings_one() {
        assert_eq!(
            Password::typed("caf\u{e9}").as_bytes(),
            Password::typed("cafe\u{301}").as_bytes()
        );
    }
}

//! Logins, and which of them are confusable.

use std::collections::BTreeSet;

use miniapp_types::fields::Fields;
use miniapp_types::limits;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{GeneralSecurityProfile as _, MixedScript as _, skeleton};

use crate::case_fold::{case_fold, lower_case};

/// The forms in which logins are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginKey {
    folded: String,
    lower_case: String,
}

impl LoginKey {
    /// Returns the forms of what a user typed.
    pub fn of(text: &str) -> Self {
        Self { folded: case_fold(text), lower_case: lower_case(text) }
    }

    /// Returns the case-folded form, which is unique.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Returns the form that the previous release compares.
    pub fn lower_case(&self) -> &str {
        &self.lower_case
    }
}

/// A login with the forms that must be unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    display: String,
    key: LoginKey,
    skeletons: BTreeSet<String>,
}

impl Login {
    /// Parses a login. The error is a message for its author.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let display: String = text.nfc().collect();
        if !limits::LOGIN.contains(&display.chars().count()) {
            return Err("must have 3 to 100 characters");
        }
        if !display.chars().all(is_allowed) {
            return Err("may only have letters, digits, '.', '_' and '-'");
        }
        if !display.as_str().is_single_script() {
            return Err("must not mix letters of several scripts");
        }
        let key = LoginKey::of(&display);
        // Either case may be confusable: a capital i looks like a small L.
        let skeletons = [skeleton_of(&display), skeleton_of(&key.lower_case)].into();
        Ok(Self { display, key, skeletons })
    }

    /// Reads a login from a field of a request body.
    pub fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        // NFC may shorten text with combining marks.
        let text = fields.text(name, 1..=4 * limits::LOGIN.end())?;
        Self::parse(&text).map_err(|message| fields.reject(name, message)).ok()
    }

    /// Returns the login as its owner wrote it.
    pub fn as_str(&self) -> &str {
        &self.display
    }

    pub fn key(&self) -> &LoginKey {
        &self.key
    }

    /// Returns the confusable skeletons. Two logins that share one look the same.
    pub fn skeletons(&self) -> impl Iterator<Item = &str> {
        self.skeletons.iter().map(String::as_str)
    }
}

fn is_allowed(c: char) -> bool {
    let is_letter = c.is_alphanumeric() || is_combining_mark(c);
    matches!(c, '.' | '_' | '-') || (is_letter && c.identifier_allowed())
}

/// The skeleton of Unicode TR 39, taken twice: the prototype of a character may be a capital.
fn skeleton_of(text: &str) -> String {
    let once: String = skeleton(text).collect();
    without_double_dots(skeleton(&once.to_lowercase()))
}

/// Removes a combining dot from letters that have one already. The skeleton keeps it, but
/// maps dotless letters to dotted ones.
fn without_double_dots(text: impl Iterator<Item = char>) -> String {
    const DOT_ABOVE: char = '\u{307}';
    let mut base = ' ';
    text.filter(|&c| {
        if !is_combining_mark(c) {
            base = c;
        }
        c != DOT_ABOVE || !matches!(base, 'i' | 'j')
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn are_confusable(one: &str, other: &str) -> bool {
        let skeletons = |text: &str| Login::parse(text).expect(text).skeletons;
        !skeletons(one).is_disjoint(&skeletons(other))
    }

    #[test]
    fn key_ignores_case_and_composition() {
        let login = Login::parse("Ada.Lovelace-1815_x").expect("a login");
        assert_eq!(login.as_str(), "Ada.Lovelace-1815_x");
        assert_eq!(login.key(), &LoginKey::of("ADA.LOVELACE-1815_X"));
        assert_eq!(Login::parse("re\u{301}mi"), Login::parse("r\u{e9}mi"));
    }

    #[test]
    fn key_is_case_folded() {
        let folded = |text: &str| Login::parse(text).expect(text).key().folded().to_owned();
        assert_eq!(folded("Γιώργος"), folded("ΓΙΏΡΓΟΣ"));
        assert_eq!(folded("γιώργοσ"), folded("ΓΙΏΡΓΟΣ"));
        assert_eq!(folded("straße"), folded("STRASSE"));
    }

    #[test]
    fn parse_accepts_single_scripts() {
        for text in ["мария", "王小明", "山田たろう", "김철수", "γιώργος", "ada", "देवी"]
        {
            assert!(Login::parse(text).is_ok(), "{text}");
        }
        // The first letter is Cyrillic.
        assert!(Login::parse("\u{430}lice").is_err());
    }

    #[test]
    fn parse_rejects_other_characters() {
        let long = "a".repeat(101);
        for text in ["", "ab", "a b", "a@b", "ada\0", "ada\n", "a\u{200d}da", "ada😀", "½½½", &long]
        {
            assert!(Login::parse(text).is_err(), "{text:?}");
        }
        assert!(Login::parse(&"a".repeat(100)).is_ok());
    }

    #[test]
    fn confusable_logins_share_a_skeleton() {
        let pairs = [
            ("paypal", "paypa1"),
            ("paypal", "PAYPAL"),
            ("paypal", "paypaI"),
            ("oleg", "0leg"),
            ("modern", "modem"),
            // All Cyrillic.
            ("pace", "\u{440}\u{430}\u{441}\u{435}"),
            // A dotless i and a combining dot.
            ("alice", "al\u{131}\u{307}ce"),
            ("alice", "ali\u{307}ce"),
            ("al\u{1ecb}ce", "al\u{1ecb}\u{307}ce"),
            ("judith", "j\u{307}udith"),
        ];
        for (one, other) in pairs {
            assert!(are_confusable(one, other), "{one} {other}");
        }
        assert!(!are_confusable("user1", "user2"));
        assert!(!are_confusable("alice", "alicia"));
        assert!(!are_confusable("zoe", "\u{17c}oe"));
    }

    proptest! {
        #[test]
        fn parse_is_idempotent_for_any_text(text in ".{0,120}") {
            if let Ok(login) = Login::parse(&text) {
                let again = Login::parse(login.as_str()).expect("its own form");
                prop_assert_eq!(again, login);
            }
        }

        #[test]
        fn case_does_not_change_key_or_skeletons(text in "[a-zA-Z0-9._-]{3,30}") {
            prop_assert!(are_confusable(&text, &text.to_uppercase()));
            prop_assert_eq!(LoginKey::of(&text), LoginKey::of(&text.to_lowercase()));
        }
    }
}

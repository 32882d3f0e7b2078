//! Logins: names that can't be taken for one another.

use std::collections::BTreeSet;

use miniapp_types::account::MAX_LOGIN;
use miniapp_types::fields::Fields;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{GeneralSecurityProfile as _, MixedScript as _, skeleton};

/// Shortest login, in characters.
const MIN_LOGIN: usize = 3;

/// A login with what decides whether another one is free beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    shown: String,
    key: String,
    looks: BTreeSet<String>,
}

impl Login {
    /// Reads a login, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let shown: String = text.nfc().collect();
        if !(MIN_LOGIN..=MAX_LOGIN).contains(&shown.chars().count()) {
            return Err("must have 3 to 100 characters");
        }
        if !shown.chars().all(is_allowed) {
            return Err("may only have letters, digits, '.', '_' and '-'");
        }
        if !shown.as_str().is_single_script() {
            return Err("must not mix letters of several scripts");
        }
        let key = key_of(&shown);
        // Look-alikes arise in either case: a capital i looks like a small L.
        let looks = [look_of(&shown), look_of(&key)].into();
        Ok(Self { shown, key, looks })
    }

    /// Reads a login from a field of a body.
    pub fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        // Composing may shorten what is written with separate marks.
        let text = fields.text(name, 1..=4 * MAX_LOGIN)?;
        Self::parse(&text).map_err(|fault| fields.reject(name, fault)).ok()
    }

    /// The login as its owner wrote it.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The same for all spellings that differ in case alone.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it looks like. Two logins that share one of these look the same to people.
    pub fn looks(&self) -> impl Iterator<Item = &str> {
        self.looks.iter().map(String::as_str)
    }
}

/// The key under which a login is found, whatever was typed.
pub fn key_of(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase().nfc().collect()
}

fn is_allowed(c: char) -> bool {
    let is_letter = c.is_alphanumeric() || is_combining_mark(c);
    matches!(c, '.' | '_' | '-') || (is_letter && c.identifier_allowed())
}

/// The skeleton of Unicode's TR 39, taken again after lower-casing: the prototype of a
/// character may itself be a capital.
fn look_of(text: &str) -> String {
    let once: String = skeleton(text).collect();
    without_double_dots(skeleton(&once.to_lowercase()))
}

/// Letters that have a dot look the same with another one on top of it. The skeleton tells
/// them apart, and takes those without a dot for those with one.
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

    fn look_alike(one: &str, other: &str) -> bool {
        let looks = |text: &str| Login::parse(text).expect(text).looks;
        !looks(one).is_disjoint(&looks(other))
    }

    #[test]
    fn a_login_is_kept_as_written_and_found_in_any_case() {
        let login = Login::parse("Ada.Lovelace-1815_x").expect("a login");
        assert_eq!(login.as_str(), "Ada.Lovelace-1815_x");
        assert_eq!(login.key(), key_of("ADA.LOVELACE-1815_X"));
        // One character, or two that make it.
        assert_eq!(Login::parse("re\u{301}mi"), Login::parse("r\u{e9}mi"));
    }

    #[test]
    fn all_scripts_are_welcome_one_at_a_time() {
        for text in ["мария", "王小明", "山田たろう", "김철수", "γιώργος", "ada", "देवी"]
        {
            assert!(Login::parse(text).is_ok(), "{text}");
        }
        // The first letter is Cyrillic.
        assert!(Login::parse("\u{430}lice").is_err());
    }

    #[test]
    fn other_characters_are_refused() {
        let long = "a".repeat(101);
        for text in ["", "ab", "a b", "a@b", "ada\0", "ada\n", "a\u{200d}da", "ada😀", "½½½", &long]
        {
            assert!(Login::parse(text).is_err(), "{text:?}");
        }
        assert!(Login::parse(&"a".repeat(100)).is_ok());
    }

    #[test]
    fn look_alikes_are_seen_as_such() {
        let pairs = [
            ("paypal", "paypa1"),
            ("paypal", "PAYPAL"),
            ("paypal", "paypaI"),
            ("oleg", "0leg"),
            ("modern", "modem"),
            // All Cyrillic.
            ("pace", "\u{440}\u{430}\u{441}\u{435}"),
            // An i without its dot, and the dot.
            ("alice", "al\u{131}\u{307}ce"),
            ("alice", "ali\u{307}ce"),
            ("al\u{1ecb}ce", "al\u{1ecb}\u{307}ce"),
            ("judith", "j\u{307}udith"),
        ];
        for (one, other) in pairs {
            assert!(look_alike(one, other), "{one} {other}");
        }
        assert!(!look_alike("user1", "user2"));
        assert!(!look_alike("alice", "alicia"));
        assert!(!look_alike("zoe", "\u{17c}oe"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,120}") {
            if let Ok(login) = Login::parse(&text) {
                let again = Login::parse(login.as_str()).expect("its own form");
                prop_assert_eq!(again, login);
            }
        }

        #[test]
        fn case_never_makes_another_login(text in "[a-zA-Z0-9._-]{3,30}") {
            prop_assert!(look_alike(&text, &text.to_uppercase()));
            prop_assert_eq!(key_of(&text), key_of(&text.to_lowercase()));
        }
    }
}

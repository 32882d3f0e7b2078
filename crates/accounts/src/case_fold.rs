//! Comparing text without case.

use icu_casemap::CaseMapper;
use unicode_normalization::UnicodeNormalization as _;

/// Returns a form that is equal for texts that differ only in case or composition: a canonical
/// caseless match (Unicode, definition D145). Unlike lower case, it does not depend on the
/// position of a letter: both small sigmas are one.
pub(crate) fn case_fold(text: &str) -> String {
    let decomposed: String = text.nfd().collect();
    CaseMapper::new().fold_string(&decomposed).nfc().collect()
}

/// Returns the form that the previous release compares.
pub(crate) fn lower_case(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_fold_ignores_case_and_composition() {
        for (one, other) in [
            ("Ada", "aDA"),
            ("Γιώργος", "ΓΙΏΡΓΟΣ"),
            ("γιώργοσ", "γιώργος"),
            ("straße", "STRASSE"),
            ("caf\u{e9}", "CAFE\u{301}"),
        ] {
            assert_eq!(case_fold(one), case_fold(other), "{one} {other}");
        }
        for (one, other) in [("İ", "i"), ("ı", "i"), ("ada", "bob")] {
            assert_ne!(case_fold(one), case_fold(other), "{one} {other}");
        }
    }
}

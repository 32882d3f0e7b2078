//! Escapes text from other programs and people for output on a terminal.
//!
//! A terminal executes control characters, reorders text after bidirectional controls, and hides
//! zero-width characters. Escaped text has none of them and is one line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes the [unsafe](is_unsafe) characters of `text` as in Rust: `\n`, `\u{1b}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_with(text, is_unsafe, |escaped, c| escaped.extend(c.escape_default()))
}

/// Escapes the unsafe characters of a JSON document as `\u001b`.
///
/// The value stays the same: JSON allows such characters only in strings, apart from the line
/// breaks between tokens, which are kept.
pub fn escape_json(document: &str) -> Cow<'_, str> {
    let is_unsafe = |c| c != '\n' && is_unsafe(c);
    escape_with(document, is_unsafe, |escaped, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String can't fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

/// Returns whether a terminal executes `c`, reorders text because of it, or doesn't show it:
/// control characters, format characters, line separators, and the characters that Unicode
/// lists as ignorable.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
            | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn escape_with(
    text: &str,
    is_unsafe: impl Fn(char) -> bool,
    push_escaped: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    // Most text has no character to escape.
    if !text.chars().any(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { push_escaped(&mut escaped, c) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_escaped() {
        let cases = [
            ("\u{1b}]2;TITLE\u{7}", r"\u{1b}]2;TITLE\u{7}"),
            ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
            ("\u{9b}31mred\u{7f}", r"\u{9b}31mred\u{7f}"),
            ("file \u{202e}gnp.exe", r"file \u{202e}gnp.exe"),
            ("a\u{200b}b\u{2060}c\u{feff}", r"a\u{200b}b\u{2060}c\u{feff}"),
            ("tag \u{e0041}", r"tag \u{e0041}"),
        ];
        for (text, escaped) in cases {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn visible_characters_are_kept() {
        for text in ["", "Grüße, κόσμε", "שלום", "日本語　全角", "e\u{301}", "a\u{a0}b", r"C:\n 😀"]
        {
            assert!(matches!(escape(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn escaped_text_is_safe(text in proptest::collection::vec(
            proptest::prelude::any::<char>(), 0..40,
        )) {
            let text: String = text.into_iter().collect();
            let escaped = escape(&text);
            proptest::prop_assert!(!escaped.chars().any(is_unsafe), "{escaped:?}");
        }

        #[test]
        fn escaped_json_is_safe_and_equal(text in proptest::collection::vec(
            proptest::prelude::any::<char>(), 0..40,
        )) {
            let text: String = text.into_iter().collect();
            let value = serde_json::json!({ text.clone(): [text] });
            let document = serde_json::to_string_pretty(&value).expect("JSON");
            let escaped = escape_json(&document);
            proptest::prop_assert!(escaped.split('\n').all(|line| !line.chars().any(is_unsafe)));
            let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
            proptest::prop_assert_eq!(read, value);
        }
    }
}

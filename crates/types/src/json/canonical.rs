//! The canonical form of JSON, for comparison by value.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::node::{Node, decoded};

/// The recursion limit of `serde_json`, which earlier releases accepted.
const MAX_DEPTH: usize = 127;

/// Returns the canonical form: members sorted by name, numbers as exact decimals in one
/// notation, strings with their shortest escapes. Equal values have equal forms.
///
/// Of several members with one name the last one counts. Returns `None` for a document that
/// [`check`](super::check()) rejects for its depth, its numbers or its strings.
pub fn canonical(raw: &RawValue) -> Option<String> {
    let mut text = String::with_capacity(raw.get().len());
    write(raw, MAX_DEPTH, &mut text)?;
    Some(text)
}

fn write(raw: &RawValue, depth: usize, into: &mut String) -> Option<()> {
    match Node::read(raw).ok()? {
        Node::Literal(text) => into.push_str(text),
        Node::Number(text) => into.push_str(&Decimal::parse(text)?.canonical()),
        Node::Text(text) => into.push_str(&quoted(&decoded(text)?)?),
        Node::List(items) => {
            let depth = depth.checked_sub(1)?;
            into.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    into.push(',');
                }
                write(item, depth, into)?;
            }
            into.push(']');
        }
        Node::Object(members) => {
            let depth = depth.checked_sub(1)?;
            let mut sorted = BTreeMap::new();
            for (name, value) in members {
                sorted.insert(decoded(name.get())?, value);
            }
            into.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    into.push(',');
                }
                into.push_str(&quoted(&name)?);
                into.push(':');
                write(value, depth, into)?;
            }
            into.push('}');
        }
    }
    Some(())
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn of(text: &str) -> Option<String> {
        canonical(&RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn equal_values_have_one_form() {
        for (one, other, is_same) in [
            (r#"{"b":[1.50,-0],"a":"\u00e9"}"#, "{ \"a\": \"é\", \"b\": [15e-1, 0] }", true),
            (r#"{"a":1000000000000000000001}"#, r#"{"a":1000000000000000000002}"#, false),
            (r#"{"a":0.1}"#, r#"{"a":0.10000000000000000001}"#, false),
            ("[1]", "[\"1\"]", false),
            ("[null]", "[\"null\"]", false),
            ("[[],{}]", "[{},[]]", false),
            ("[[1],2]", "[1,[2]]", false),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true),
            ("\"\\/\\u0041\"", "\"/A\"", true),
            ("\"e\u{301}\"", "\"\u{e9}\"", false),
        ] {
            assert_eq!(of(one).expect(one) == of(other).expect(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn unreadable_values_have_none() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for text in [r#""\ud83d""#, r#"{"\udc00":1}"#, "[1e99999999999999999999]", &deep] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn form_of_plain_values_is_that_of_earlier_releases(
            texts in proptest::collection::btree_map("\\PC{0,9}", "\\PC{0,20}", 0..5),
            numbers in proptest::collection::vec(proptest::prelude::any::<i64>(), 0..5),
            cents in -1_000_000_i32..1_000_000,
        ) {
            let float = f64::from(cents) + 0.125;
            let value = serde_json::json!({ "t": texts, "n": numbers, "f": float });
            let text = value.to_string();
            let before = serde_json::from_str::<Value>(&text).expect("JSON").to_string();
            proptest::prop_assert_eq!(of(&text), Some(before));
        }
    }
}

//! Rejects JSON that readers would understand differently, or not at all.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::node::{Node, decoded};
use crate::problem::FieldError;

/// The nesting of a document that is accepted. Common readers stop at 127 levels, and the
/// document is returned within others.
pub const MAX_DEPTH: usize = 100;
/// The number of errors that are reported for one document.
const MAX_ERRORS: usize = 20;
/// The length of a path in an error, in characters.
const MAX_PATH: usize = 200;

/// Returns the errors of the JSON in the field `field`: nesting deeper than [`MAX_DEPTH`],
/// names that occur twice in an object, lone surrogates, numbers beyond a double.
pub fn check(field: &str, raw: &RawValue) -> Vec<FieldError> {
    let mut check = Check { path: field.to_owned(), errors: Vec::new() };
    if depth(raw.get()) > MAX_DEPTH {
        check.reject(&format!("must not be nested deeper than {MAX_DEPTH} levels"));
    } else {
        check.value(raw);
    }
    check.errors
}

/// Returns what is wrong with a string in quotes, if it cannot be decoded.
pub(crate) fn check_text(raw: &str) -> Option<String> {
    if decoded(raw).is_some() {
        return None;
    }
    let escape = lone_surrogate(raw).unwrap_or("an unreadable escape");
    Some(format!("contains {escape}, half of a surrogate pair"))
}

/// Returns how deeply arrays and objects are nested in `json`, which is valid.
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest): (usize, usize) = (0, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Check {
    path: String,
    errors: Vec<FieldError>,
}

impl Check {
    fn reject(&mut self, message: &str) {
        if self.errors.len() < MAX_ERRORS {
            let field = self.path.chars().take(MAX_PATH).collect();
            self.errors.push(FieldError { field, message: message.to_owned() });
        }
    }

    fn value(&mut self, raw: &RawValue) {
        let Ok(node) = Node::read(raw) else { return self.reject("can't be read") };
        match node {
            Node::Literal(_) => {}
            Node::Number(text) => self.number(text),
            Node::Text(text) => {
                if let Some(message) = check_text(text) {
                    self.reject(&message);
                }
            }
            Node::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.at(&format!("[{index}]"), |check| check.value(item));
                }
            }
            Node::Object(members) => self.members(members),
        }
    }

    fn number(&mut self, text: &str) {
        let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        if !is_finite || Decimal::parse(text).is_none() {
            self.reject("is a number too large or too small");
        }
    }

    fn members(&mut self, members: Vec<(&RawValue, &RawValue)>) {
        let mut names = HashSet::with_capacity(members.len());
        for (name, value) in members {
            let Some(decoded) = decoded(name.get()) else {
                let message = check_text(name.get()).unwrap_or_default();
                self.reject(&format!("has a name that {message}"));
                continue;
            };
            self.at(&format!(".{decoded}"), |check| {
                if names.contains(&decoded) {
                    check.reject("is given more than once");
                }
                check.value(value);
            });
            names.insert(decoded);
        }
    }

    /// Checks a part at `suffix` of the path.
    fn at(&mut self, suffix: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(suffix);
        check(self);
        self.path.truncate(length);
    }
}

/// Returns the first escape of `raw` that is half of a surrogate pair.
fn lone_surrogate(raw: &str) -> Option<&str> {
    let unit = |at: usize| {
        let digits = raw.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while at < raw.len() {
        at += match (raw.as_bytes()[at], unit(at)) {
            (b'\\', Some(0xD800..=0xDBFF)) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            (b'\\', Some(0xD800..=0xDFFF)) => return raw.get(at..at + 6),
            (b'\\', Some(_)) => 6,
            (b'\\', None) => 2,
            _ => 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<(String, String)> {
        let raw = RawValue::from_string(text.to_owned()).expect("JSON");
        check("data", &raw).into_iter().map(|error| (error.field, error.message)).collect()
    }

    fn paths(text: &str) -> Vec<String> {
        errors(text).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn ambiguous_values_are_rejected_with_their_path() {
        for (text, expected) in [
            (r#"{"a":1,"a":2}"#, &["data.a"][..]),
            (r#"{"a":1,"\u0061":2}"#, &["data.a"]),
            (r#"[0,{"b":{"c":1,"c":2,"c":3}}]"#, &["data[1].b.c", "data[1].b.c"]),
            (r#"{"a":"x\ud83d","b":["\udc00","\ud83d\ude00"]}"#, &["data.a", "data.b[0]"]),
            (r#"{"\ud83d":1}"#, &["data"]),
            ("[1e999,-1e999,1e-999,1e-99999999999999999999]", &["data[0]", "data[1]", "data[3]"]),
            (r#"{"a":{"b":1},"b":[{"b":1},{"b":1}],"c":"\\ud83d \u0000"}"#, &[]),
        ] {
            assert_eq!(paths(text), expected, "{text}");
        }
        let message = &errors(r#""x\ud83d\u0041""#)[0].1;
        assert_eq!(message, "contains \\ud83d, half of a surrogate pair");
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(errors(&nested(MAX_DEPTH)), []);
        let expected = "must not be nested deeper than 100 levels";
        for depth in [MAX_DEPTH + 1, 127, 100_000] {
            assert_eq!(errors(&nested(depth)), [("data".into(), expected.into())], "{depth}");
        }
        assert_eq!(depth(r#"{"[[[\"[":[[],{}],"b":"]"}"#), 3);
    }

    #[test]
    fn errors_are_bounded() {
        let names = r#""a":1,"#.repeat(1000);
        assert_eq!(errors(&format!("{{{names}\"b\":1}}")).len(), MAX_ERRORS);
        let long = "n".repeat(10_000);
        let found = errors(&format!("{{\"{long}\":\"\\ud83d\"}}"));
        assert_eq!(found[0].0.len(), MAX_PATH);
    }

    proptest::proptest! {
        #[test]
        fn accepted_values_have_a_canonical_form(text in "[\\[\\]{}\",:.0-9eE+\\-a-fnulrts\\\\]{0,60}") {
            if let Ok(raw) = RawValue::from_string(text)
                && check("data", &raw).is_empty()
            {
                proptest::prop_assert!(crate::json::canonical(&raw).is_some());
            }
        }
    }
}

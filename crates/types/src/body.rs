//! JSON bodies, parsed down to their fields.
//!
//! A field stays raw JSON until it is read. So an error is attributed to its field, and a
//! client's own data is stored as it was sent, with its numbers and its order of keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Error, Value};

use crate::json::{Node, check_text, decoded};

/// A JSON body.
#[derive(Clone, Debug)]
pub enum JsonBody {
    Object(Object),
    /// A bare string, in quotes.
    Text(Box<RawValue>),
    /// Anything else.
    Other,
}

#[derive(Clone, Debug, Default)]
pub struct Object {
    /// The raw values by name.
    pub fields: BTreeMap<String, Box<RawValue>>,
    /// Names that occur more than once.
    pub duplicates: Vec<String>,
    /// Why names cannot be read.
    pub unreadable: Vec<String>,
}

impl JsonBody {
    /// Reads a body, which must be one JSON value.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let raw: &RawValue = serde_json::from_slice(json)?;
        Ok(match Node::read(raw)? {
            Node::Object(members) => Self::Object(Object::new(members)),
            Node::Text(_) => Self::Text(raw.to_owned()),
            Node::Literal(_) | Node::Number(_) | Node::List(_) => Self::Other,
        })
    }

    /// Returns the JSON in a field.
    pub fn raw(&self, name: &str) -> Option<&RawValue> {
        let Self::Object(object) = self else { return None };
        object.fields.get(name).map(AsRef::as_ref)
    }

    /// Returns the string in a field, if it is one.
    pub fn text(&self, name: &str) -> Option<String> {
        decoded(self.raw(name)?.get())
    }

    /// Turns a bare string into an object with the string in `field`.
    #[must_use]
    pub fn wrap_bare_text(self, field: &str) -> Self {
        match self {
            Self::Text(text) => {
                let fields = BTreeMap::from([(field.to_owned(), text)]);
                Self::Object(Object { fields, ..Object::default() })
            }
            body => body,
        }
    }
}

impl Object {
    fn new(members: Vec<(&RawValue, &RawValue)>) -> Self {
        let mut object = Self::default();
        for (name, value) in members {
            let Some(decoded) = decoded(name.get()) else {
                object.unreadable.extend(check_text(name.get()));
                continue;
            };
            match object.fields.entry(decoded) {
                Entry::Vacant(place) => _ = place.insert(value.to_owned()),
                Entry::Occupied(first) => object.duplicates.push(first.key().clone()),
            }
        }
        object
    }
}

impl From<Value> for JsonBody {
    fn from(value: Value) -> Self {
        // A value always serializes.
        let written = |value: &Value| to_raw_value(value).ok();
        match value {
            Value::Object(object) => {
                let written = |(name, value)| Some((name, written(&value)?));
                let fields = object.into_iter().filter_map(written).collect();
                Self::Object(Object { fields, ..Object::default() })
            }
            text @ Value::String(_) => written(&text).map_or(Self::Other, Self::Text),
            _ => Self::Other,
        }
    }
}

/// Removes insignificant whitespace.
pub(crate) fn compact(raw: Box<RawValue>) -> Box<RawValue> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    if !raw.get().contains(is_space) {
        return raw;
    }
    let (mut in_string, mut escaped) = (false, false);
    let kept = |&c: &char| {
        let is_kept = in_string || !is_space(c);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        is_kept
    };
    let compact = raw.get().chars().filter(kept).collect();
    RawValue::from_string(compact).unwrap_or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_is_a_body() {
        for text in ["[1, [2]]", "1", "-1", "1.5", "true", "null"] {
            let body = JsonBody::parse(text.as_bytes()).expect("JSON");
            assert!(matches!(body, JsonBody::Other), "{text}");
        }
        let body = JsonBody::parse(b" \"a\\n\" ").expect("JSON");
        assert!(matches!(body, JsonBody::Text(text) if text.get() == "\"a\\n\""));
        for text in ["", "{", "{\"a\":}", "[1", "{} {}", "{\"a\":01}", "{1:1}"] {
            assert!(JsonBody::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(JsonBody::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn names_are_compared_after_decoding() {
        let body = JsonBody::parse(br#"{"a":1,"\u0061":2,"\ud83d":3,"b":4}"#).expect("JSON");
        let JsonBody::Object(object) = body else { panic!("an object") };
        assert_eq!(object.fields.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(object.duplicates, ["a"]);
        assert_eq!(object.unreadable, ["contains \\ud83d, half of a surrogate pair"]);
    }

    #[test]
    fn compact_removes_insignificant_whitespace() {
        let text = "{ \"a b\" : [ 1 ,\n\t2 ] , \"c\\\" \\\\\" : \" \\\\\" }";
        let raw = RawValue::from_string(text.to_owned()).expect("JSON");
        assert_eq!(compact(raw).get(), "{\"a b\":[1,2],\"c\\\" \\\\\":\" \\\\\"}");
    }

    proptest::proptest! {
        #[test]
        fn compact_keeps_the_value(
            keys in proptest::collection::btree_map("\\PC{0,9}", "\\PC{0,20}", 0..5),
            spaces in "[ \t\n\r]{0,3}",
        ) {
            let value = serde_json::to_value(&keys).expect("JSON");
            // Pretty-printed JSON has whitespace between all of its parts.
            let pretty = format!("{spaces}{}{spaces}", serde_json::to_string_pretty(&value).expect("JSON"));
            let raw: Box<RawValue> = serde_json::from_str(&pretty).expect("JSON");
            let compacted = compact(raw);
            proptest::prop_assert_eq!(compacted.get(), serde_json::to_string(&value).expect("JSON"));
        }
    }
}

//! JSON bodies, parsed down to their fields.
//!
//! A field stays raw JSON until it is read. So an error is attributed to its field, and a
//! client's own data is stored as it was sent, with its numbers and its order of keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// A JSON body.
#[derive(Clone, Debug)]
pub enum JsonBody {
    Object(Object),
    /// A bare string.
    Text(String),
    /// Anything else.
    Other,
}

#[derive(Clone, Debug, Default)]
pub struct Object {
    /// The raw values by name.
    pub fields: BTreeMap<String, Box<RawValue>>,
    /// Names that occur more than once.
    pub duplicates: Vec<String>,
}

impl JsonBody {
    /// Returns the string in a field, if it is one.
    pub fn text(&self, name: &str) -> Option<String> {
        let Self::Object(object) = self else { return None };
        serde_json::from_str(object.fields.get(name)?.get()).ok()
    }

    /// Turns a bare string into an object with the string in `field`.
    #[must_use]
    pub fn wrap_bare_text(self, field: &str) -> Self {
        match self {
            Self::Text(text) => {
                Value::Object(Map::from_iter([(field.to_owned(), text.into())])).into()
            }
            body => body,
        }
    }
}

impl From<Value> for JsonBody {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(object) => {
                // A value always serializes.
                let written = |(name, value)| Some((name, to_raw_value(&value).ok()?));
                let fields = object.into_iter().filter_map(written).collect();
                Self::Object(Object { fields, duplicates: Vec::new() })
            }
            Value::String(text) => Self::Text(text),
            _ => Self::Other,
        }
    }
}

impl<'de> Deserialize<'de> for JsonBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = JsonBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonBody, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            match object.fields.entry(name) {
                Entry::Vacant(place) => _ = place.insert(value),
                Entry::Occupied(first) => object.duplicates.push(first.key().clone()),
            }
        }
        Ok(JsonBody::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonBody, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonBody::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonBody, E> {
        Ok(JsonBody::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<JsonBody, E> {
        Ok(JsonBody::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonBody, E> {
        Ok(JsonBody::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<JsonBody, E> {
        Ok(JsonBody::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonBody, E> {
        Ok(JsonBody::Other)
    }

    fn visit_unit<E>(self) -> Result<JsonBody, E> {
        Ok(JsonBody::Other)
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
            let body = serde_json::from_str(text).expect("JSON");
            assert!(matches!(body, JsonBody::Other), "{text}");
        }
        let body = serde_json::from_str("\"a\\n\"").expect("JSON");
        assert!(matches!(body, JsonBody::Text(text) if text == "a\n"));
        for text in ["", "{", "{\"a\":}", "[1", "{} {}", "{\"a\":01}", "{1:1}"] {
            assert!(serde_json::from_str::<JsonBody>(text).is_err(), "{text}");
        }
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

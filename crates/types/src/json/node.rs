//! One level of a JSON document.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value whose parts are still raw JSON.
pub(crate) enum Node<'a> {
    /// `null`, `true` or `false`.
    Literal(&'a str),
    /// A number as it is written.
    Number(&'a str),
    /// A string in quotes, with its escapes.
    Text(&'a str),
    List(Vec<&'a RawValue>),
    /// The members in order, with raw names.
    Object(Vec<(&'a RawValue, &'a RawValue)>),
}

impl<'a> Node<'a> {
    /// Reads one level of `raw`, which is valid JSON.
    pub fn read(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => Self::Object(serde_json::from_str::<Members<'a>>(text)?.0),
            Some(b'[') => Self::List(serde_json::from_str(text)?),
            Some(b'"') => Self::Text(text),
            Some(b'n' | b't' | b'f') => Self::Literal(text),
            _ => Self::Number(text),
        })
    }
}

/// Decodes a raw string; `None` if it contains a lone surrogate.
pub(crate) fn decoded(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

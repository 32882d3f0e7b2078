//! Reading a JSON body field by field, so that every fault is told, not the first.

use std::fmt::Display;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::problem::FieldError;

/// Why a body can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is JSON, but not an object.
    NotAnObject,
    /// Its fields are at fault, each listed.
    Fields(Vec<FieldError>),
}

/// A body that is read from a JSON object.
pub trait FromFields: Sized {
    /// Takes what it needs from `fields`, which notes each fault; `None` after one.
    fn read(fields: &mut Fields) -> Option<Self>;

    /// Reads a whole body. Overridden where something else than an object is welcome.
    fn from_body(body: Value) -> Result<Self, BodyFault> {
        Fields::read_body(body)
    }
}

/// Reads the pairs of a query string, where every value is a text and may come once.
pub fn read_query<T: FromFields>(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<T, BodyFault> {
    let mut fields = Fields { is_text: true, ..Fields::new(Map::new()) };
    for (name, value) in pairs {
        if fields.object.contains_key(&name) {
            let name: String = name.chars().take(64).collect();
            fields.fault(&name, "is given more than once");
        } else {
            fields.object.insert(name, Value::String(value));
        }
    }
    let read = T::read(&mut fields);
    fields.finish(read)
}

/// The fields of a JSON object that have not been read yet, and the faults found.
#[derive(Debug)]
pub struct Fields {
    object: Map<String, Value>,
    faults: Vec<FieldError>,
    /// Whether numbers come as texts, as in a query string.
    is_text: bool,
}

impl Fields {
    /// Begins with all fields of `object`.
    pub fn new(object: Map<String, Value>) -> Self {
        Self { object, faults: Vec::new(), is_text: false }
    }

    /// Reads a body that has to be an object.
    pub fn read_body<T: FromFields>(body: Value) -> Result<T, BodyFault> {
        let Value::Object(object) = body else { return Err(BodyFault::NotAnObject) };
        let mut fields = Self::new(object);
        let read = T::read(&mut fields);
        fields.finish(read)
    }

    /// Whether the field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// The string in the field, if there is one, which stays unread.
    pub fn peek_text(&self, name: &str) -> Option<String> {
        self.object.get(name)?.as_str().map(str::to_owned)
    }

    /// Notes a fault that the reader found by itself.
    pub fn fault(&mut self, field: &str, message: impl Display) {
        self.faults.push(FieldError { field: field.to_owned(), message: message.to_string() });
    }

    /// A required string whose length in characters lies in `length`. NUL is refused:
    /// not every store can keep it.
    pub fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<String> {
        let Value::String(text) = self.required(name)? else {
            self.fault(name, "must be a string");
            return None;
        };
        let characters = text.chars().count();
        if text.contains('\0') {
            self.fault(name, "must not contain NUL");
        } else if characters < *length.start() && *length.start() == 1 {
            self.fault(name, "must not be empty");
        } else if !length.contains(&characters) {
            let (min, max) = (length.start(), length.end());
            self.fault(name, format_args!("must have {min} to {max} characters"));
        } else {
            return Some(text);
        }
        None
    }

    /// A required whole number in `range`.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let mut value = self.required(name)?;
        if self.is_text {
            let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
            value = number.map_or(value, Value::from);
        }
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            None if !value.is_number() => self.fault(name, "must be a whole number"),
            None => {
                let (min, max) = (range.start(), range.end());
                self.fault(name, format_args!("must be a whole number from {min} to {max}"));
            }
            found => return found,
        }
        None
    }

    /// A required RFC 3339 time.
    pub fn timestamp(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "must be an RFC 3339 time such as 2030-01-31T12:00:00Z")
    }

    /// A required calendar date.
    pub fn date(&mut self, name: &str) -> Option<Date> {
        self.parsed(name, "must be a date such as 1990-01-31")
    }

    /// A required list of strings.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let texts = match self.required(name)? {
            Value::Array(values) => values
                .into_iter()
                .map(|value| if let Value::String(text) = value { Some(text) } else { None })
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            self.fault(name, "must be a list of strings");
        }
        texts
    }

    /// Any JSON, null included, as long as the field is there.
    pub fn json(&mut self, name: &str) -> Option<Value> {
        let value = self.object.remove(name);
        if value.is_none() {
            self.fault(name, "is required");
        }
        value
    }

    /// Reads the field only where it is there and not null.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
        name: &str,
    ) -> Option<T> {
        match self.object.get(name) {
            None => None,
            Some(Value::Null) => {
                self.object.remove(name);
                None
            }
            Some(_) => read(self),
        }
    }

    /// Reads a field that may also be null, which is told apart from its absence.
    pub fn nullable<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
        name: &str,
    ) -> Option<Option<T>> {
        self.object.contains_key(name).then(|| self.optional(read, name))
    }

    /// What was read, unless a fault was noted or a field is left that nobody knows.
    pub fn finish<T>(mut self, read: Option<T>) -> Result<T, BodyFault> {
        for unknown in std::mem::take(&mut self.object).keys().take(20) {
            let name: String = unknown.chars().take(64).collect();
            self.fault(&name, "is unknown");
        }
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(BodyFault::Fields(self.faults)),
        }
    }

    fn required(&mut self, name: &str) -> Option<Value> {
        match self.object.remove(name) {
            None | Some(Value::Null) => {
                self.fault(name, "is required");
                None
            }
            value => value,
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, otherwise: &str) -> Option<T> {
        let value = self.required(name)?;
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.fault(name, otherwise);
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::SubmitTask;

    fn faults(body: Value) -> Vec<(String, String)> {
        match SubmitTask::from_body(body) {
            Err(BodyFault::Fields(faults)) => {
                faults.into_iter().map(|fault| (fault.field, fault.message)).collect()
            }
            other => panic!("expected field faults, got {other:?}"),
        }
    }

    #[test]
    fn a_whole_body_is_read() {
        let body = json!({"description": "d", "data": null, "ttl": 5, "kind": null});
        let task = SubmitTask::from_body(body).expect("readable");
        assert_eq!((task.ttl, task.kind, task.data), (5, None, Value::Null));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let found = faults(json!({"description": "", "ttl": 1e30, "maxAttempts": "3", "x": 1}));
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["description", "data", "ttl", "maxAttempts", "x"]);
    }

    #[test]
    fn only_objects_are_bodies() {
        assert_eq!(SubmitTask::from_body(json!([1])), Err(BodyFault::NotAnObject));
    }

    #[derive(Debug)]
    struct Page(Option<u32>, Option<String>);

    impl FromFields for Page {
        fn read(fields: &mut Fields) -> Option<Self> {
            let limit = fields.optional(|fields| fields.integer("limit", 1..=200), "limit");
            let cursor = fields.optional(|fields| fields.text("cursor", 1..=10), "cursor");
            Some(Self(limit, cursor))
        }
    }

    fn query(pairs: &[(&str, &str)]) -> Result<Page, BodyFault> {
        read_query(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_query_holds_numbers_as_texts() {
        let page = query(&[("limit", "50"), ("cursor", "12")]).expect("readable");
        assert_eq!((page.0, page.1.as_deref()), (Some(50), Some("12")));
        let page = query(&[]).expect("readable");
        assert_eq!((page.0, page.1), (None, None));
    }

    #[test]
    fn every_fault_of_a_query_is_told() {
        let pairs = [("limit", "x"), ("cursor", ""), ("cursor", "2"), ("y", "1")];
        let Err(BodyFault::Fields(faults)) = query(&pairs) else { panic!("readable") };
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["cursor", "limit", "cursor", "y"]);
        assert!(query(&[("limit", "201")]).is_err());
    }

    #[test]
    fn nul_is_refused() {
        let found = faults(json!({"description": "a\0b", "data": 1, "ttl": 1}));
        assert_eq!(found, [("description".into(), "must not contain NUL".into())]);
    }
}

//! Reads a JSON body field by field and reports every error, not only the first.

mod nested;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::body::{JsonBody, Object, compact};
use crate::json::{self, Decimal};
use crate::problem::FieldError;
use crate::time::parse_timestamp;

/// The number of unknown or duplicate fields that are reported.
const MAX_REPORTED_NAMES: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    NotAnObject,
    Fields(Vec<FieldError>),
}

/// A type that is read from a JSON object or a query string.
///
/// ```
/// use miniapp_types::fields::{BodyError, Fields, FromFields};
/// use serde_json::json;
///
/// struct Rename {
///     name: String,
///     version: u32,
/// }
///
/// impl FromFields for Rename {
///     fn read(fields: &mut Fields) -> Option<Self> {
///         let name = fields.text("name", 1..=20);
///         let version = fields.integer("version", 1..=1000);
///         Some(Self { name: name?, version: version? })
///     }
/// }
///
/// let rename = Rename::from_body(json!({"name": "new", "version": 2.0})).unwrap();
/// assert_eq!((rename.name.as_str(), rename.version), ("new", 2));
/// let Err(BodyError::Fields(errors)) = Rename::from_body(json!({"name": ""})) else { panic!() };
/// assert_eq!(errors.len(), 2);
/// ```
pub trait FromFields: Sized {
    /// Reads the fields. Returns `None` after an error, which `fields` records.
    fn read(fields: &mut Fields) -> Option<Self>;

    /// Reads a whole body. Overridden by types that also accept a bare value.
    fn from_body(body: impl Into<JsonBody>) -> Result<Self, BodyError> {
        Fields::read_body(body)
    }
}

/// Reads the pairs of a query string. Every value is a string and may occur once.
pub fn read_query<T: FromFields>(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<T, BodyError> {
    let mut fields = Fields::default();
    for (name, value) in pairs {
        let duplicate = match fields.unread.entry(name) {
            Entry::Vacant(place) => {
                place.insert(Field::Text(value));
                continue;
            }
            Entry::Occupied(first) => first.key().clone(),
        };
        fields.reject_duplicate(&duplicate);
    }
    let read = T::read(&mut fields);
    fields.finish(read)
}

/// The unread fields of a JSON object, and the errors found so far.
#[derive(Debug, Default)]
pub struct Fields {
    unread: BTreeMap<String, Field>,
    errors: Vec<FieldError>,
}

#[derive(Debug)]
enum Field {
    Json(Box<RawValue>),
    /// A value of a query string, where numbers are strings, too.
    Text(String),
}

impl Field {
    fn is_null(&self) -> bool {
        matches!(self, Self::Json(raw) if raw.get() == "null")
    }

    /// Returns `None` for JSON that exceeds the limits of the parser.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok(),
            Self::Text(text) => Some(Value::String(text.clone())),
        }
    }

    /// Returns a whole number of any notation in JSON, and of plain digits in a query.
    fn integer(&self) -> Option<u32> {
        match self {
            Self::Json(raw) => u32::try_from(Decimal::parse(raw.get())?.to_integer()?).ok(),
            Self::Text(text) => {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                if is_plain { text.parse().ok() } else { None }
            }
        }
    }
}

impl Fields {
    pub fn new(object: Object) -> Self {
        let Object { fields, duplicates, unreadable } = object;
        let unread = fields.into_iter().map(|(name, raw)| (name, Field::Json(raw))).collect();
        let mut fields = Self { unread, errors: Vec::new() };
        for name in duplicates.iter().take(MAX_REPORTED_NAMES) {
            fields.reject_duplicate(name);
        }
        for message in unreadable.iter().take(MAX_REPORTED_NAMES) {
            fields.reject("", format_args!("has a name that {message}"));
        }
        fields
    }

    /// Reads a body, which must be an object.
    pub fn read_body<T: FromFields>(body: impl Into<JsonBody>) -> Result<T, BodyError> {
        let JsonBody::Object(object) = body.into() else { return Err(BodyError::NotAnObject) };
        let mut fields = Self::new(object);
        let read = T::read(&mut fields);
        fields.finish(read)
    }

    /// Whether the field is present and not null.
    pub fn has(&self, name: &str) -> bool {
        self.unread.get(name).is_some_and(|field| !field.is_null())
    }

    /// Returns the string in the field without marking it as read.
    pub fn peek_text(&self, name: &str) -> Option<String> {
        match self.unread.get(name)?.value()? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Records an error of a field.
    pub fn reject(&mut self, field: &str, message: impl Display) {
        self.errors.push(FieldError { field: field.to_owned(), message: message.to_string() });
    }

    /// Reads a required string with `length` characters. NUL is rejected: PostgreSQL cannot
    /// store it.
    pub fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<String> {
        let Value::String(text) = self.required(name)? else {
            self.reject(name, "must be a string");
            return None;
        };
        let characters = text.chars().count();
        if text.contains('\0') {
            self.reject(name, "must not contain NUL");
        } else if characters < *length.start() && *length.start() == 1 {
            self.reject(name, "must not be empty");
        } else if !length.contains(&characters) {
            let (min, max) = (length.start(), length.end());
            self.reject(name, format_args!("must have {min} to {max} characters"));
        } else {
            return Some(text);
        }
        None
    }

    /// Reads a required string that `T` parses.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let Value::String(text) = self.required(name)? else {
            self.reject(name, "must be a string");
            return None;
        };
        text.parse().map_err(|error| self.reject(name, error)).ok()
    }

    /// Reads a required whole number in `range`. The notation does not matter: 5, 5.0 and 5e0
    /// are the same number.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let (min, max) = (*range.start(), *range.end());
        let number = self.present(name)?.integer().filter(|number| range.contains(number));
        if number.is_none() {
            self.reject(name, format_args!("must be a whole number from {min} to {max}"));
        }
        number
    }

    /// Reads a required boolean.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let Value::Bool(value) = self.required(name)? else {
            self.reject(name, "must be true or false");
            return None;
        };
        Some(value)
    }

    /// Reads a required RFC 3339 time.
    pub fn timestamp(&mut self, name: &str) -> Option<Timestamp> {
        let message = "must be an RFC 3339 time such as 2030-01-31T12:00:00Z";
        self.parsed(name, parse_timestamp, message)
    }

    /// Reads a required calendar date.
    pub fn date(&mut self, name: &str) -> Option<Date> {
        self.parsed(name, |text| text.parse().ok(), "must be a date such as 1990-01-31")
    }

    /// Reads a required list of strings.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let texts = match self.required(name)? {
            Value::Array(values) => values
                .into_iter()
                .map(|value| if let Value::String(text) = value { Some(text) } else { None })
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            self.reject(name, "must be a list of strings");
        }
        texts
    }

    /// Reads a required field with any JSON, null included, as it was written apart from
    /// insignificant whitespace.
    pub fn json(&mut self, name: &str) -> Option<Box<RawValue>> {
        let Some(field) = self.unread.remove(name) else {
            self.reject(name, "is required");
            return None;
        };
        match field {
            Field::Json(raw) => {
                let errors = json::check(name, &raw);
                if errors.is_empty() {
                    return Some(compact(raw));
                }
                self.errors.extend(errors);
                None
            }
            Field::Text(text) => to_raw_value(&text).ok(),
        }
    }

    /// Reads the field if it is present and not null.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
        name: &str,
    ) -> Option<T> {
        match self.unread.get(name) {
            None => None,
            Some(field) if field.is_null() => {
                self.unread.remove(name);
                None
            }
            Some(_) => read(self),
        }
    }

    /// Reads a field that may be null. Null is `Some(None)`, absence is `None`.
    pub fn nullable<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
        name: &str,
    ) -> Option<Option<T>> {
        self.unread.contains_key(name).then(|| self.optional(read, name))
    }

    /// Returns what was read, unless an error was recorded or an unknown field is left.
    pub fn finish<T>(mut self, read: Option<T>) -> Result<T, BodyError> {
        for unknown in std::mem::take(&mut self.unread).keys().take(MAX_REPORTED_NAMES) {
            self.reject(&shortened(unknown), "is unknown");
        }
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => Err(BodyError::Fields(self.errors)),
        }
    }

    fn required(&mut self, name: &str) -> Option<Value> {
        let field = self.present(name)?;
        let value = field.value();
        if value.is_none() {
            self.reject_unparsable(name, &field);
        }
        value
    }

    /// Removes a field that must be present and not null.
    fn present(&mut self, name: &str) -> Option<Field> {
        let field = self.unread.remove(name).filter(|field| !field.is_null());
        if field.is_none() {
            self.reject(name, "is required");
        }
        field
    }

    fn reject_duplicate(&mut self, name: &str) {
        self.reject(&shortened(name), "is given more than once");
    }

    /// Records why the parser has rejected a field.
    fn reject_unparsable(&mut self, name: &str, field: &Field) {
        let errors = match field {
            Field::Json(raw) => json::check(name, raw),
            Field::Text(_) => Vec::new(),
        };
        if errors.is_empty() {
            self.reject(name, "can't be read");
        }
        self.errors.extend(errors);
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        otherwise: &str,
    ) -> Option<T> {
        let value = self.required(name)?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.reject(name, otherwise);
        }
        parsed
    }
}

/// Truncates a name that a client made up.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

//! Lists and objects in a body, and values of a certain form.

use std::ops::RangeInclusive;

use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{BodyError, Field, Fields, FromFields};
use crate::body::JsonBody;
use crate::json::{Decimal, Node};
use crate::limits;
use crate::name::check_name;
use crate::problem::FieldError;

impl Fields {
    /// Whether the field is present, null included.
    pub fn contains(&self, name: &str) -> bool {
        self.unread.contains_key(name)
    }

    /// Whether an error was recorded.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Reads a required object. Errors have paths such as `error.code`.
    pub fn object<T: FromFields>(&mut self, name: &str) -> Option<T> {
        match self.present(name)? {
            Field::Json(raw) => self.nested(name, &raw),
            Field::Text(_) => self.reject_type(name, "must be an object"),
        }
    }

    /// Reads a required list of objects with `length` items. Errors have paths such as
    /// `kinds[0].name`.
    pub fn list<T: FromFields>(
        &mut self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Option<Vec<T>> {
        let field = self.present(name)?;
        let items = match &field {
            Field::Json(raw) => Node::read(raw).ok(),
            Field::Text(_) => None,
        };
        let Some(Node::List(items)) = items else {
            return self.reject_type(name, "must be a list of objects");
        };
        let (min, max) = (*length.start(), *length.end());
        if !length.contains(&items.len()) {
            return self.reject_type(name, format_args!("must have {min} to {max} items"));
        }
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            read.push(self.nested(&format!("{name}[{index}]"), item));
        }
        // After all items, so that the errors of each are reported.
        read.into_iter().collect()
    }

    fn nested<T: FromFields>(&mut self, path: &str, raw: &RawValue) -> Option<T> {
        let Ok(body) = JsonBody::parse(raw.get().as_bytes()) else {
            return self.reject_type(path, "can't be read");
        };
        match Self::read_body(body) {
            Ok(read) => Some(read),
            Err(BodyError::NotAnObject) => self.reject_type(path, "must be an object"),
            Err(BodyError::Fields(errors)) => {
                self.errors.extend(errors.into_iter().map(|FieldError { field, message }| {
                    let separator = if field.is_empty() { "" } else { "." };
                    FieldError { field: format!("{path}{separator}{field}"), message }
                }));
                None
            }
        }
    }

    /// Reads a required name of a kind or queue.
    pub fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name, limits::NAME)?;
        match check_name(&text) {
            Ok(()) => Some(text),
            Err(error) => self.reject_type(name, error),
        }
    }

    /// Reads a required list of names.
    pub fn names(&mut self, name: &str) -> Option<Vec<String>> {
        let names = self.texts(name)?;
        if !limits::NAMES.contains(&names.len()) {
            let (min, max) = (limits::NAMES.start(), limits::NAMES.end());
            return self.reject_type(name, format_args!("must have {min} to {max} items"));
        }
        for (index, text) in names.iter().enumerate() {
            if let Err(error) = check_name(text) {
                return self.reject_type(&format!("{name}[{index}]"), error);
            }
        }
        Some(names)
    }

    /// Reads a required UUID.
    pub fn uuid(&mut self, name: &str) -> Option<Uuid> {
        self.parsed(name, |text| Uuid::try_parse(text).ok(), "must be a UUID")
    }

    /// Reads a required number from 0 to 1.
    pub fn fraction(&mut self, name: &str) -> Option<f64> {
        let value = self.required(name)?;
        let number = if let Value::Number(number) = value { number.as_f64() } else { None };
        match number.filter(|number| (0.0..=1.0).contains(number)) {
            None => self.reject_type(name, "must be a number from 0 to 1"),
            number => number,
        }
    }

    /// Reads a required whole number that every client can represent.
    pub fn counter(&mut self, name: &str) -> Option<u64> {
        const MAX: u64 = (1 << 53) - 1;
        let number = match self.present(name)? {
            Field::Json(raw) => Decimal::parse(raw.get()).and_then(|number| number.to_integer()),
            Field::Text(text) => text.parse().ok(),
        };
        let number = number.and_then(|number| u64::try_from(number).ok());
        match number.filter(|number| (1..=MAX).contains(number)) {
            None => self.reject_type(name, format_args!("must be a whole number from 1 to {MAX}")),
            number => number,
        }
    }

    /// Records an error and returns `None`.
    fn reject_type<T>(&mut self, name: &str, message: impl std::fmt::Display) -> Option<T> {
        self.reject(name, message);
        None
    }
}

//! Messages of OTLP, field by field.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use opentelemetry::trace::TraceState;
use opentelemetry::{Array, KeyValue, Value};

/// How many attributes, events or links a span has at most.
pub(super) const MOST: usize = 128;

/// What is too much for a span to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Characters of a value.
    pub length: usize,
}

impl Limits {
    pub const NONE: Self = Self { length: usize::MAX };
}

/// Protobuf's wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// Appends fields to a message. Those that have their default value are left out.
pub(crate) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    limits: Limits,
}

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut Vec<u8>, limits: Limits) -> Self {
        Self { bytes, limits }
    }

    /// Appends fields that are written already.
    pub fn append(&mut self, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint((field << 3 | wire_type).into());
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.bytes.push(low_byte(value));
    }

    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, FIXED64);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.tag(field, DELIMITED);
            self.varint(value.len() as u64);
            self.bytes.extend_from_slice(value);
        }
    }

    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, cut(value, self.limits.length).as_bytes());
    }

    pub fn trace_state(&mut self, field: u32, state: &TraceState) {
        if *state != TraceState::NONE {
            self.bytes(field, state.header().as_bytes());
        }
    }

    /// A message within this one. Its length stands before it and is known after it: most
    /// are short enough for the one byte that is kept for it.
    pub fn nested(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.tag(field, DELIMITED);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(&mut Writer { bytes: self.bytes, limits: self.limits });
        let length = self.bytes.len() - at - 1;
        if length < 0x80 {
            self.bytes[at] = low_byte(length as u64);
            return;
        }
        let end = self.bytes.len();
        self.varint(length as u64);
        let written = self.bytes.len() - end;
        self.bytes[at + 1..].rotate_right(written);
        self.bytes.remove(at);
    }

    pub(super) fn attributes<'k>(
        &mut self,
        field: u32,
        dropped: u32,
        attributes: impl Iterator<Item = &'k KeyValue>,
        dropped_before: u32,
    ) {
        let mut count = 0;
        for attribute in attributes {
            count += 1;
            if count <= MOST {
                self.attribute(field, attribute);
            }
        }
        self.dropped(dropped, count, dropped_before);
    }

    pub(super) fn dropped(&mut self, field: u32, count: usize, before: u32) {
        self.number(field, count.saturating_sub(MOST) as u64 + u64::from(before));
    }

    pub fn attribute(&mut self, field: u32, KeyValue { key, value, .. }: &KeyValue) {
        self.said(field, key.as_str(), |to| to.value(value));
    }

    /// An attribute whose value is what `write` appends.
    pub fn said(&mut self, field: u32, key: &str, write: impl FnOnce(&mut Writer<'_>)) {
        self.nested(field, |to| {
            to.text(1, key);
            to.nested(2, write);
        });
    }

    /// The one field of a value. It says what kind of value that is, so it is there even if
    /// it has its default.
    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.value_text(text.as_str()),
            Value::Bool(flag) => self.value_number(2, (*flag).into()),
            Value::I64(number) => self.value_number(3, number.cast_unsigned()),
            Value::F64(number) => {
                self.tag(4, FIXED64);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Array(array) => self.nested(5, |to| to.array(array)),
            other => self.value_text(&other.as_str()),
        }
    }

    fn array(&mut self, array: &Array) {
        match array {
            Array::Bool(items) => self.items(items, |to, item| to.value_number(2, (*item).into())),
            Array::I64(items) => {
                self.items(items, |to, item| to.value_number(3, item.cast_unsigned()));
            }
            Array::F64(items) => self.items(items, |to, item| to.value(&Value::F64(*item))),
            Array::String(items) => self.items(items, |to, item| to.value_text(item.as_str())),
            _ => {}
        }
    }

    fn items<T>(&mut self, items: &[T], write: impl Fn(&mut Writer<'_>, &T)) {
        for item in items.iter().take(MOST) {
            self.nested(1, |to| write(to, item));
        }
    }

    pub fn value_text(&mut self, text: &str) {
        let text = cut(text, self.limits.length);
        self.tag(1, DELIMITED);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn value_number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }
}

/// The first `length` characters.
fn cut(text: &str, length: usize) -> &str {
    if text.len() <= length {
        return text;
    }
    text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
}

#[expect(clippy::cast_possible_truncation, reason = "the last byte is what is asked for")]
fn low_byte(value: u64) -> u8 {
    value as u8
}

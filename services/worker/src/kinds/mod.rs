//! Task kinds: the code that tasks run.
//!
//! # Adding a kind
//!
//! A kind is one file in this folder with one type that implements [`Kind`], and one line
//! in [`Kinds::standard`]:
//!
//! ```
//! use async_trait::async_trait;
//! use miniapp_worker::kinds::{Context, Description, Kind, KindResult, parse_data, to_result};
//! use serde_json::json;
//! use serde_json::value::RawValue;
//!
//! /// Reverses a string.
//! pub struct Reverse;
//!
//! #[async_trait]
//! impl Kind for Reverse {
//!     fn describe(&self) -> Description {
//!         Description {
//!             name: "reverse".into(),
//!             description: "Reverses a string.".into(),
//!             data_schema: json!({ "type": "string" }),
//!             example: json!("stressed"),
//!         }
//!     }
//!
//!     async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
//!         let text: String = parse_data(data)?;
//!         context.progress(0.5, "parsed");
//!         to_result(&text.chars().rev().collect::<String>())
//!     }
//! }
//! ```
//!
//! The code may run more than once for the same task: if a worker disappears, another one
//! makes a new attempt. Side effects use [`Context::attempt_id`] as their idempotency key.
//! A panic and [`KindError::Retryable`] fail the attempt; the task is retried until its
//! attempts are used up. Waits go through [`Context::sleep`] or
//! [`Context::unless_stopped`]. CPU-bound work runs on the blocking pool and polls
//! [`Context::is_stopped`]; [`hash`] is an example.

pub mod echo;
pub mod flaky;
pub mod hash;
pub mod http;
pub mod simulate;
pub mod sleep;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize as _, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::config::WorkerConfig;

pub use crate::context::Context;
pub use crate::kind_error::KindError;
pub use miniapp_types::task::Kind as Description;

/// A kind of task.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    /// Returns the kind's name, documentation and data schema, as clients see them.
    fn describe(&self) -> Description;

    /// Runs one attempt of a task with this `data`.
    async fn run(&self, context: &Context, data: &RawValue) -> KindResult;
}

/// The result of an attempt in JSON, or the error that ended it.
pub type KindResult = Result<Box<RawValue>, KindError>;

/// Parses the data of a task. Fails with the code `invalid_data`.
pub fn parse_data<T: DeserializeOwned>(data: &RawValue) -> Result<T, KindError> {
    serde_json::from_str(data.get()).map_err(|error| {
        let text = error.to_string();
        // The line and column refer to the stored text, which clients do not see.
        let message = text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        KindError::invalid_data(format!("The data is not what this kind takes: {message}"))
    })
}

/// Deserializes a whole number in any notation, as JSON Schema defines `integer`: 5.0 is 5.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(D::Error::custom(format!("{number} is no whole number up to {}", u32::MAX)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and in the range of the type"
    )]
    let number = number as u32;
    Ok(number)
}

/// Serializes the result of an attempt.
pub fn to_result<T: Serialize + ?Sized>(value: &T) -> KindResult {
    to_raw_value(value).map_err(|error| KindError::permanent("invalid_result", error.to_string()))
}

/// The kinds that a worker runs, by name.
#[derive(Clone)]
pub struct Kinds(BTreeMap<String, Arc<dyn Kind>>);

impl Kinds {
    /// Returns the built-in kinds.
    pub fn standard(config: &WorkerConfig) -> Self {
        let mut kinds = Self::none();
        kinds.register(simulate::Simulate);
        kinds.register(echo::Echo);
        kinds.register(sleep::Sleep);
        kinds.register(hash::Hash::default());
        kinds.register(http::Http::new(config));
        kinds.register(flaky::Flaky);
        kinds
    }

    /// Returns an empty set.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a kind and replaces an earlier one of the same name.
    pub fn register(&mut self, kind: impl Kind) {
        self.0.insert(kind.describe().name, Arc::new(kind));
    }

    /// Returns the kind of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Kind> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Returns the descriptions of all kinds, sorted by name.
    pub fn catalog(&self) -> Vec<Description> {
        self.0.values().map(|kind| kind.describe()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::tests::defaults;
    use crate::context::tests::test_context;

    pub(super) fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).expect("JSON")
    }

    /// Runs one attempt and returns its result as a value.
    pub(super) async fn run(kind: &dyn Kind, data: Value, number: u32) -> Result<Value, KindError> {
        let (context, _) = test_context(number, Duration::from_secs(10), 1);
        kind.run(&context, &raw(&data)).await.map(|result| json!(result))
    }

    pub(super) fn code(error: &KindError) -> &str {
        match error {
            KindError::Retryable { code, .. } | KindError::Permanent { code, .. } => code,
            KindError::Stopped => "stopped",
        }
    }

    #[test]
    fn standard_kinds_have_descriptions() {
        let catalog = Kinds::standard(&defaults()).catalog();
        let names: Vec<&str> = catalog.iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["echo", "flaky", "hash", "http", "simulate", "sleep"]);
        for kind in &catalog {
            assert!(kind.data_schema.is_object(), "{}", kind.name);
            assert!(kind.description.ends_with('.'), "{}", kind.name);
        }
    }

    #[tokio::test]
    async fn invalid_data_is_a_permanent_error_with_a_reason() {
        for name in ["sleep", "hash", "http", "flaky"] {
            let kinds = Kinds::standard(&defaults());
            let kind = kinds.get(name).expect("registered");
            for data in [json!(null), json!("text"), json!([]), json!({}), json!({ "x": 1 })] {
                let error = run(kind, data, 1).await.expect_err(name);
                assert!(matches!(error, KindError::Permanent { .. }), "{name}: {error}");
                assert_eq!(code(&error), "invalid_data", "{name}");
                assert!(!error.to_string().contains(" at line "), "{error}");
            }
        }
    }
}

//! What tasks can do.
//!
//! # A new kind
//!
//! A kind is one file in this folder with one type that implements [`Kind`], and one line
//! in [`Kinds::standard`]:
//!
//! ```
//! use async_trait::async_trait;
//! use serde_json::json;
//! use serde_json::value::RawValue;
//! use miniapp_worker::kinds::{Answer, Context, Description, Kind, answer, read};
//!
//! /// Turns a text around.
//! pub struct Reverse;
//!
//! #[async_trait]
//! impl Kind for Reverse {
//!     fn describe(&self) -> Description {
//!         Description {
//!             name: "reverse".into(),
//!             description: "Turns a text around.".into(),
//!             data_schema: json!({ "type": "string" }),
//!             example: json!("stressed"),
//!         }
//!     }
//!
//!     async fn run(&self, context: &Context, data: &RawValue) -> Answer {
//!         let text: String = read(data)?;
//!         context.progress(0.5, "read it");
//!         answer(&text.chars().rev().collect::<String>())
//!     }
//! }
//! ```
//!
//! The code may run more than once for the same task: an attempt whose worker vanished is
//! made again elsewhere. Side effects take [`Context::attempt_id`] as their idempotency
//! key. A panic is a failed attempt; so is [`KindError::Retry`], and another one follows
//! as long as the task allows. Waiting goes through [`Context::sleep`] or
//! [`Context::unless_stopped`]; what keeps a thread busy goes to the blocking pool and
//! looks at [`Context::is_stopped`] (see [`hash`] for an example).

pub mod echo;
pub mod flaky;
pub mod hash;
pub mod http;
pub mod simulate;
pub mod sleep;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

pub use crate::context::Context;
pub use miniapp_types::task::Kind as Description;

/// A kind of task.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    /// What clients have to know.
    fn describe(&self) -> Description;

    /// Makes one attempt at a task with this `data`.
    async fn run(&self, context: &Context, data: &RawValue) -> Answer;
}

/// How an attempt ends: a result in JSON, or why there is none.
pub type Answer = Result<Box<RawValue>, KindError>;

/// Why an attempt has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// Another attempt may succeed.
    #[error("{code}: {message}")]
    Retry {
        /// A stable `snake_case` name.
        code: Cow<'static, str>,
        /// For people.
        message: String,
    },
    /// Another attempt would fail as well.
    #[error("{code}: {message}")]
    Final {
        /// A stable `snake_case` name.
        code: Cow<'static, str>,
        /// For people.
        message: String,
    },
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl KindError {
    /// Another attempt may succeed.
    pub fn retry(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Retry { code: code.into(), message: message.into() }
    }

    /// Another attempt would fail as well.
    pub fn last(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Final { code: code.into(), message: message.into() }
    }

    /// The task's data is not what the kind takes.
    pub fn invalid_data(message: impl Into<String>) -> Self {
        Self::last("invalid_data", message)
    }
}

/// Reads a task's data; what doesn't fit is told as `invalid_data`.
pub fn read<T: DeserializeOwned>(data: &RawValue) -> Result<T, KindError> {
    serde_json::from_str(data.get()).map_err(|error| {
        let text = error.to_string();
        // The place in the text helps nobody: clients don't see how it is kept.
        let told = text.split_once(" at line ").map_or(text.as_str(), |(told, _)| told);
        KindError::invalid_data(format!("The data is not what this kind takes: {told}"))
    })
}

/// Makes a result of `value`.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    to_raw_value(value).map_err(|error| KindError::last("invalid_result", error.to_string()))
}

/// The kinds that a worker runs, by name.
#[derive(Clone)]
pub struct Kinds(BTreeMap<String, Arc<dyn Kind>>);

impl Kinds {
    /// The platform's own. `http_allow_private` lets `http` tasks reach private, loopback
    /// and link-local addresses.
    pub fn standard(http_allow_private: bool) -> Self {
        let mut kinds = Self::none();
        kinds.register(simulate::Simulate);
        kinds.register(echo::Echo);
        kinds.register(sleep::Sleep);
        kinds.register(hash::Hash::default());
        kinds.register(http::Http::new(http_allow_private));
        kinds.register(flaky::Flaky);
        kinds
    }

    /// No kind at all, to begin with.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a kind; the latest of a name counts.
    pub fn register(&mut self, kind: impl Kind) {
        self.0.insert(kind.describe().name, Arc::new(kind));
    }

    /// The kind of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Kind> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// Their names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// What clients have to know of each, by name.
    pub fn catalog(&self) -> Vec<Description> {
        self.0.values().map(|kind| kind.describe()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::context::tests::alone;

    pub(super) fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).expect("JSON")
    }

    /// Runs one attempt and gives its result as a value.
    pub(super) async fn run(kind: &dyn Kind, data: Value, number: u32) -> Result<Value, KindError> {
        let (context, _) = alone(number, Duration::from_secs(10), 1);
        kind.run(&context, &raw(&data)).await.map(|result| json!(result))
    }

    pub(super) fn code(error: &KindError) -> &str {
        match error {
            KindError::Retry { code, .. } | KindError::Final { code, .. } => code,
            KindError::Stopped => "stopped",
        }
    }

    #[test]
    fn every_kind_describes_itself() {
        let catalog = Kinds::standard(false).catalog();
        let names: Vec<&str> = catalog.iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["echo", "flaky", "hash", "http", "simulate", "sleep"]);
        for kind in &catalog {
            assert!(kind.data_schema.is_object(), "{}", kind.name);
            assert!(kind.description.ends_with('.'), "{}", kind.name);
        }
    }

    #[tokio::test]
    async fn data_that_does_not_fit_is_final_and_says_why() {
        for name in ["sleep", "hash", "http", "flaky"] {
            let kinds = Kinds::standard(false);
            let kind = kinds.get(name).expect("registered");
            for data in [json!(null), json!("text"), json!([]), json!({}), json!({ "x": 1 })] {
                let error = run(kind, data, 1).await.expect_err(name);
                assert!(matches!(error, KindError::Final { .. }), "{name}: {error}");
                assert_eq!(code(&error), "invalid_data", "{name}");
                assert!(!error.to_string().contains(" at line "), "{error}");
            }
        }
    }
}

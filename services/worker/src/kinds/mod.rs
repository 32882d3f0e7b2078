//! The kinds of a worker.
//!
//! Kinds are types that implement [`miniapp_kind::Kind`]. The worker runs them as
//! [`ErasedKind`]s, without their types. Each built-in kind is one file in this folder.

pub mod echo;
mod erased;
pub mod flaky;
pub mod hash;
pub mod http;
pub mod simulate;
pub mod sleep;
mod typed;

use std::collections::BTreeMap;
use std::sync::Arc;

use miniapp_kind::Kind;
use serde::Deserialize as _;
use serde::de::{Deserializer, Error as _};

use self::typed::Typed;
use crate::config::WorkerConfig;

pub use erased::{ErasedKind, KindResult};
pub use miniapp_kind::{Context, KindError};
pub use miniapp_types::task::Kind as Description;

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

/// The kinds that a worker runs, by name.
#[derive(Clone)]
pub struct Kinds(BTreeMap<String, Arc<dyn ErasedKind>>);

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
        self.register_erased(Arc::new(Typed::new(kind)));
    }

    /// Adds a kind whose name and schema are known at run time only.
    pub fn register_erased(&mut self, kind: Arc<dyn ErasedKind>) {
        self.0.insert(kind.describe().name, kind);
    }

    /// Adds the kinds of another set and replaces earlier ones of the same name.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the kind of this name.
    pub fn get(&self, name: &str) -> Option<&dyn ErasedKind> {
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
    use miniapp_kind::testing::TestAttempt;
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::tests::defaults;

    /// Runs attempt number `number` and returns its result as a value.
    pub(super) async fn run(kind: impl Kind, data: Value, number: u32) -> Result<Value, KindError> {
        let mut attempt = TestAttempt::new();
        for _ in 1..number {
            attempt = attempt.next_attempt();
        }
        run_in(&attempt, kind, data).await
    }

    pub(super) async fn run_in(
        attempt: &TestAttempt,
        kind: impl Kind,
        data: Value,
    ) -> Result<Value, KindError> {
        let data = to_raw_value(&data).expect("JSON");
        Typed::new(kind).run(&attempt.context(), &data).await.map(|result| json!(result))
    }

    #[test]
    fn standard_kinds_have_descriptions() {
        let catalog = Kinds::standard(&defaults()).catalog();
        let names: Vec<&str> = catalog.iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["echo", "flaky", "hash", "http", "simulate", "sleep"]);
        for kind in &catalog {
            assert!(kind.data_schema.is_object(), "{}", kind.name);
            assert!(kind.description.ends_with('.'), "{}", kind.name);
            assert!(!kind.example.is_null(), "{}", kind.name);
            let validator = jsonschema::validator_for(&kind.data_schema).expect("a schema");
            assert!(validator.is_valid(&kind.example), "{}", kind.name);
        }
    }

    #[tokio::test]
    async fn invalid_data_is_a_permanent_error_with_a_reason() {
        for name in ["sleep", "hash", "http", "flaky"] {
            let kinds = Kinds::standard(&defaults());
            let kind = kinds.get(name).expect("registered");
            for data in [json!(null), json!("text"), json!([]), json!({}), json!({ "x": 1 })] {
                let cx = TestAttempt::new().context();
                let error = kind.run(&cx, &to_raw_value(&data).expect("JSON")).await;
                let error = error.expect_err(name);
                assert!(matches!(error, KindError::Permanent { .. }), "{name}: {error}");
                assert_eq!(error.code(), Some("invalid_data"), "{name}");
                assert!(!error.to_string().contains(" at line "), "{error}");
            }
        }
    }
}

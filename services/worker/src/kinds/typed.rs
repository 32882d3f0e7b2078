//! Typed kinds as [`ErasedKind`]s.

use async_trait::async_trait;
use jsonschema::Validator;
use miniapp_kind::schemars::generate::SchemaSettings;
use miniapp_kind::{Backoff, Context, Kind, KindError};
use miniapp_types::name::check_name;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{Description, ErasedKind, KindResult};

/// The number of faults that the error for invalid data names.
const MAX_FAULTS: usize = 3;
/// Keywords of a schema that accepts everything.
const ANNOTATIONS: [&str; 7] =
    ["$schema", "title", "description", "default", "examples", "deprecated", "$comment"];

/// A typed kind with its schema.
pub(super) struct Typed<K> {
    kind: K,
    description: Description,
    /// `None` if the schema accepts everything or can't be used.
    validator: Option<Validator>,
}

impl<K: Kind> Typed<K> {
    /// # Panics
    ///
    /// Panics if the name of the kind or of its queue is invalid.
    pub fn new(kind: K) -> Self {
        let invalid = |what, name, error| panic!("{name:?} is no {what}: it {error}");
        if let Err(error) = check_name(K::NAME) {
            invalid("kind", K::NAME, error);
        }
        let queue = K::QUEUE.parse().unwrap_or_else(|error| invalid("queue", K::QUEUE, error));
        let settings = SchemaSettings::draft2020_12();
        let schema: Value = settings.into_generator().into_root_schema_for::<K::Input>().into();
        let example = schema.pointer("/examples/0").cloned().unwrap_or_default();
        let accepts_all = schema
            .as_object()
            .is_some_and(|schema| schema.keys().all(|key| ANNOTATIONS.contains(&key.as_str())));
        let validator = (!accepts_all).then(|| validator(K::NAME, &schema)).flatten();
        let description = Description {
            name: K::NAME.to_owned(),
            description: K::DESCRIPTION.to_owned(),
            data_schema: schema,
            example,
            queue,
        };
        Self { kind, description, validator }
    }
}

fn validator(kind: &str, schema: &Value) -> Option<Validator> {
    match jsonschema::draft202012::new(schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            let error = error.masked().to_string();
            tracing::warn!(kind, error, "data is not validated: the schema can't be used");
            None
        }
    }
}

#[async_trait]
impl<K: Kind> ErasedKind for Typed<K> {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let input = parse(data, self.validator.as_ref())?;
        let output = self.kind.run(context, input).await?;
        to_raw_value(&output)
            .map_err(|error| KindError::permanent("invalid_result", error.to_string()))
    }

    fn retry(&self, attempt: u32) -> Backoff {
        self.kind.retry(attempt)
    }
}

/// Parses the data of a task. Fails with the code `invalid_data`. The API has validated the data
/// only if all workers agreed on the schema.
fn parse<T: DeserializeOwned>(
    data: &RawValue,
    validator: Option<&Validator>,
) -> Result<T, KindError> {
    if let Some(validator) = validator {
        let value: Value = serde_json::from_str(data.get()).map_err(|error| invalid(&error))?;
        let faults = validator.iter_errors(&value).take(MAX_FAULTS);
        let faults: Vec<String> = faults
            .map(|fault| format!("data{}: {}", fault.instance_path(), fault.masked()))
            .collect();
        if !faults.is_empty() {
            let faults = faults.join("; ");
            return Err(KindError::invalid_data(format!(
                "The data is not what this kind takes: {faults}"
            )));
        }
    }
    serde_json::from_str(data.get()).map_err(|error| invalid(&error))
}

fn invalid(error: &serde_json::Error) -> KindError {
    let text = error.to_string();
    // The line and column refer to the stored text, which clients do not see.
    let message = text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    KindError::invalid_data(format!("The data is not what this kind takes: {message}"))
}

#[cfg(test)]
mod tests {
    use miniapp_kind::schemars::{self, JsonSchema};
    use miniapp_kind::testing::TestAttempt;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    /// An order.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[schemars(example = json!({ "unitPrice": 5, "items": [1] }))]
    struct Order {
        #[schemars(range(min = 1))]
        unit_price: u32,
        #[serde(default)]
        items: Vec<u8>,
    }

    struct Sum;

    impl Kind for Sum {
        const NAME: &'static str = "sum";
        const DESCRIPTION: &'static str = "Adds prices.";
        const QUEUE: &'static str = "orders";
        type Input = Order;
        type Output = u32;

        async fn run(&self, cx: &Context, order: Order) -> Result<u32, KindError> {
            cx.progress(0.5, "added");
            Ok(order.unit_price * order.items.into_iter().map(u32::from).sum::<u32>())
        }
    }

    async fn run(data: &str) -> Result<String, KindError> {
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        let result = Typed::new(Sum).run(&TestAttempt::new().context(), &data).await?;
        Ok(result.get().to_owned())
    }

    #[tokio::test]
    async fn input_and_output_are_json() {
        assert_eq!(run(r#"{"unitPrice":2,"items":[1,2]}"#).await.as_deref(), Ok("6"));
        assert_eq!(run(r#"{"unitPrice":2}"#).await.as_deref(), Ok("0"));
    }

    #[tokio::test]
    async fn data_is_validated_against_the_schema() {
        for (data, fault) in [
            (r#"{"unitPrice":0}"#, "data/unitPrice: "),
            (r#"{"unitPrice":1,"items":[256]}"#, "data/items/0: "),
            (r#"{"unitPrice":1,"x":1}"#, "data: "),
            ("{}", "data: "),
        ] {
            let error = run(data).await.expect_err(data);
            assert_eq!(error.code(), Some("invalid_data"), "{data}");
            assert!(error.to_string().contains(fault), "{data}: {error}");
        }
    }

    #[test]
    fn description_is_derived() {
        let kind = Typed::new(Sum);
        let Description { name, description, data_schema, example, queue } = kind.describe();
        assert_eq!((name.as_str(), description.as_str()), ("sum", "Adds prices."));
        assert_eq!(queue.as_str(), "orders");
        assert_eq!(data_schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(data_schema["required"], json!(["unitPrice"]));
        assert_eq!(data_schema["additionalProperties"], false);
        assert_eq!(data_schema["properties"]["unitPrice"]["minimum"], 1);
        assert_eq!(example, json!({ "unitPrice": 5, "items": [1] }));
    }
}

//! The kind `echo`: returns its data.

use miniapp_kind::schemars::{self, JsonSchema};
use miniapp_kind::{Context, Kind, KindError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// Returns its data, byte for byte.
pub struct Echo;

/// Any JSON.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = json!({ "hello": "world" }))]
pub struct Data(Box<RawValue>);

impl Kind for Echo {
    const NAME: &'static str = "echo";
    const DESCRIPTION: &'static str = "Gives the data back as the result.";
    type Input = Data;
    type Output = Data;

    async fn run(&self, _: &Context, data: Data) -> Result<Data, KindError> {
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use miniapp_kind::testing::TestAttempt;

    use super::*;
    use crate::kinds::ErasedKind as _;
    use crate::kinds::typed::Typed;

    #[tokio::test]
    async fn result_is_the_data_verbatim() {
        let text = r#"{"b": 123456789012345678901234567890, "a": [1.50]}"#.to_owned();
        let data = RawValue::from_string(text.clone()).expect("JSON");
        let result = Typed::new(Echo).run(&TestAttempt::new().context(), &data).await;
        assert_eq!(result.expect("a result").get(), text);
    }
}

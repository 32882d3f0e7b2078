//! The kind `echo`: returns its data.

use async_trait::async_trait;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Context, Description, Kind, KindResult};

/// Returns its data, byte for byte.
pub struct Echo;

#[async_trait]
impl Kind for Echo {
    fn describe(&self) -> Description {
        Description {
            name: "echo".into(),
            description: "Gives the data back as the result.".into(),
            data_schema: json!({ "description": "Any JSON" }),
            example: json!({ "hello": "world" }),
        }
    }

    async fn run(&self, _: &Context, data: &RawValue) -> KindResult {
        Ok(data.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::context::tests::test_context;

    #[tokio::test]
    async fn result_is_the_data_verbatim() {
        let (context, _) = test_context(1, Duration::from_secs(1), 0);
        let text = r#"{"b": 123456789012345678901234567890, "a": [1.50]}"#.to_owned();
        let data = RawValue::from_string(text.clone()).expect("JSON");
        assert_eq!(Echo.run(&context, &data).await.expect("a result").get(), text);
    }
}

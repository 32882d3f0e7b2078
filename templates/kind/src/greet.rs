//! The kind `greet`.

use miniapp_kind::{Context, Kind, KindError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Greets somebody.
pub struct Greet;

/// The data of a task.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    #[schemars(length(min = 1))]
    name: String,
}

/// The result of a task.
#[derive(Debug, PartialEq, Serialize)]
pub struct Output {
    greeting: String,
}

impl Kind for Greet {
    const NAME: &'static str = "greet";
    const DESCRIPTION: &'static str = "Greets somebody.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, cx: &Context, input: Input) -> Result<Output, KindError> {
        cx.log(format_args!("attempt {} of {}", cx.attempt(), cx.max_attempts()));
        Ok(Output { greeting: format!("Hello, {}!", input.name) })
    }
}

#[cfg(test)]
mod tests {
    use miniapp_kind::testing::TestAttempt;

    use super::*;

    #[tokio::test]
    async fn greets_by_name() {
        let input = Input { name: "Ada".into() };
        let output = Greet.run(&TestAttempt::new().context(), input).await;
        assert_eq!(output, Ok(Output { greeting: "Hello, Ada!".into() }));
    }
}

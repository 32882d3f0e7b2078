//! A kind with settings of its own.

use miniapp_config::{Config, ConfigError, Schema, Section, Validator};
use miniapp_kind::{Context, Kind, KindError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The settings of this crate, beside those of the platform.
pub const SETTINGS: Schema =
    Schema { defaults: include_str!("../settings.toml"), secret_urls: &[], secrets: &[] };

/// The section `invoices`.
#[derive(Clone, Debug, Deserialize)]
pub struct InvoiceSettings {
    pub currency: String,
    pub limit_cents: u32,
}

impl Section for InvoiceSettings {
    const NAME: &'static str = "invoices";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.ensure("currency", self.currency.len() == 3, "must have three letters")
    }
}

/// Charges a customer once, and then writes the invoice.
pub struct Invoice {
    settings: InvoiceSettings,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({ "customer": "ada", "cents": 1200 }))]
pub struct Order {
    pub customer: String,
    #[schemars(range(min = 1))]
    pub cents: u32,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Receipt {
    pub payment: String,
    pub text: String,
}

impl Invoice {
    pub fn new(settings: InvoiceSettings) -> Self {
        Self { settings }
    }

    /// Creates the kind from the configuration.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self::new(config.section()?))
    }
}

impl Kind for Invoice {
    const NAME: &'static str = "invoice";
    const DESCRIPTION: &'static str = "Charges a customer and writes an invoice.";
    type Input = Order;
    type Output = Receipt;

    async fn run(&self, cx: &Context, order: Order) -> Result<Receipt, KindError> {
        let InvoiceSettings { currency, limit_cents } = &self.settings;
        if order.cents > *limit_cents {
            return Err(KindError::permanent("too_much", format!("The limit is {limit_cents}")));
        }
        // A real kind sends the key to the provider, which then charges once.
        let key = cx.step_key("charge");
        let payment = cx.step("charge", || async { Ok(format!("payment {key}")) }).await?;
        cx.progress(0.5, "charged");
        cx.log(format_args!("charged {} {}", order.cents, order.customer));
        let text = format!(
            "{}: {}.{:02} {currency}",
            order.customer,
            order.cents / 100,
            order.cents % 100
        );
        Ok(Receipt { payment, text })
    }
}

#[cfg(test)]
mod tests {
    use miniapp_kind::testing::TestAttempt;

    use super::*;

    fn invoice() -> Invoice {
        Invoice::new(InvoiceSettings { currency: "EUR".into(), limit_cents: 2000 })
    }

    fn order(cents: u32) -> Order {
        Order { customer: "ada".into(), cents }
    }

    #[tokio::test]
    async fn repeated_attempt_has_the_same_payment() {
        let test = TestAttempt::new();
        let first = invoice().run(&test.context(), order(1205)).await.expect("a receipt");
        assert_eq!(first.text, "ada: 12.05 EUR");
        let again = invoice().run(&test.next_attempt().context(), order(1205)).await;
        assert_eq!(again, Ok(first));
    }

    #[tokio::test]
    async fn large_order_is_refused() {
        let refused = invoice().run(&TestAttempt::new().context(), order(2001)).await;
        assert_eq!(refused.expect_err("too much").code(), Some("too_much"));
    }
}

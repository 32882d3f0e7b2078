//! Fingerprints of requests with an `Idempotency-Key`.

use jiff::Timestamp;
use miniapp_http::Problem;
use miniapp_tasks::engine::IdempotencyKey;
use miniapp_types::json::canonical;
use miniapp_types::name::QueueName;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The content of a request besides its data, with defaults applied.
pub(super) struct Content<'a> {
    pub kind: &'a str,
    /// As requested: the default depends on the workers.
    pub queue: Option<&'a QueueName>,
    pub description: &'a str,
    pub ttl: u32,
    pub max_attempts: u32,
    pub run_at: Option<Timestamp>,
}

/// What is hashed. The fields and their order are stored data: changing them changes the digests
/// of all requests. Absent fields are newer than stored digests.
#[derive(Serialize)]
struct Fingerprint<'a> {
    kind: &'a str,
    description: &'a str,
    data: &'a RawValue,
    ttl: u32,
    max_attempts: u32,
    run_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a QueueName>,
}

/// Returns the key with the digest of the request. Requests have the same digest if their
/// values are equal.
pub(super) fn key(
    key: String,
    content: &Content<'_>,
    data: &RawValue,
) -> Result<IdempotencyKey, Problem> {
    let form = canonical(data).ok_or_else(|| anyhow::anyhow!("data without canonical form"))?;
    let previous_form = previous_form(data)?;
    let previous_digest =
        if previous_form.get() == form { None } else { Some(content.digest(&previous_form)?) };
    let form = RawValue::from_string(form).map_err(Problem::internal)?;
    Ok(IdempotencyKey { key, digest: content.digest(&form)?, previous_digest })
}

impl Content<'_> {
    fn digest(&self, data: &RawValue) -> Result<[u8; 32], Problem> {
        let &Self { kind, queue, description, ttl, max_attempts, run_at } = self;
        let fingerprint = Fingerprint { kind, description, data, ttl, max_attempts, run_at, queue };
        let text = serde_json::to_vec(&fingerprint).map_err(Problem::internal)?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &text).as_ref());
        Ok(bytes)
    }
}

/// Returns the form that the previous release hashed: its numbers are floats, in one of
/// several notations. To be removed when no task of that release is left.
fn previous_form(data: &RawValue) -> Result<Box<RawValue>, Problem> {
    let value: Value = serde_json::from_str(data.get()).map_err(Problem::internal)?;
    to_raw_value(&value).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key_of(data: &str) -> IdempotencyKey {
        let content = Content {
            kind: "echo",
            queue: None,
            description: "d",
            ttl: 5,
            max_attempts: 3,
            run_at: Some(Timestamp::UNIX_EPOCH),
        };
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        key("k".to_owned(), &content, &data).expect("a key")
    }

    fn sha256(text: &str) -> [u8; 32] {
        digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("32 bytes")
    }

    #[test]
    fn digest_of_plain_data_is_that_of_the_previous_release() {
        let data = r#"{"b":[1,-2.5,true,null,18446744073709551615],"a":"\u00e9 \u0000 \/"}"#;
        let text = concat!(
            r#"{"kind":"echo","description":"d","data":{"a":"é \u0000 /","#,
            r#""b":[1,-2.5,true,null,18446744073709551615]},"ttl":5,"max_attempts":3,"#,
            r#""run_at":"1970-01-01T00:00:00Z"}"#
        );
        let key = key_of(data);
        assert_eq!((key.digest, key.previous_digest), (sha256(text), None));
    }

    #[test]
    fn digest_of_other_numbers_is_known_too() {
        for (data, before) in [
            ("[1.0]", json!([1.0])),
            ("[-0]", json!([-0.0])),
            ("[1e2]", json!([100.0])),
            ("[1000000000000000000001]", json!([1e21])),
            ("[0.10000000000000000001]", json!([0.1])),
        ] {
            let text = format!(
                r#"{{"kind":"echo","description":"d","data":{before},"ttl":5,"max_attempts":3,"run_at":"1970-01-01T00:00:00Z"}}"#
            );
            assert_eq!(key_of(data).previous_digest, Some(sha256(&text)), "{data}");
        }
    }
}

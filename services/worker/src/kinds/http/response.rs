//! Responses as results of tasks, bounded in size and memory.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::failed;
use crate::kinds::KindError;

/// Of the body in JSON, in bytes: what is stored, after escaping.
pub(super) const MAX_BODY: usize = 256 * 1024;
/// Of all headers in JSON.
const MAX_HEADERS: usize = 32 * 1024;
/// A body that exceeds this is read together with a few others only.
const LARGE: usize = 16 * 1024;
/// The number of large bodies that are read at a time.
const MAX_LARGE: usize = 16;
/// How long the rest of a large body may take.
const LARGE_TIMEOUT: Duration = Duration::from_mins(1);

/// Limits the memory of the bodies that the tasks of a process are reading.
#[derive(Debug)]
pub(super) struct LargeBodies(Semaphore);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Semaphore::new(MAX_LARGE))
    }
}

impl LargeBodies {
    async fn enter(&self) -> Result<SemaphorePermit<'_>, KindError> {
        self.0.acquire().await.map_err(|_| KindError::Stopped)
    }
}

#[derive(Debug, Serialize)]
pub struct HttpResult {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl HttpResult {
    pub(super) async fn read(response: Response, large: &LargeBodies) -> Result<Self, KindError> {
        let status = response.status().as_u16();
        let headers = read_headers(response.headers())?;
        let body = read_body(response, large).await?;
        Ok(Self { status, headers, body })
    }
}

fn read_headers(headers: &HeaderMap) -> Result<BTreeMap<String, String>, KindError> {
    let mut read: BTreeMap<String, String> = BTreeMap::new();
    let mut size = 0;
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        size += json_size(name.as_str()) + json_size(&value);
        if size > MAX_HEADERS {
            return Err(too_large("headers of the response are", MAX_HEADERS));
        }
        read.entry(name.as_str().to_owned())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    Ok(read)
}

async fn read_body(mut response: Response, large: &LargeBodies) -> Result<String, KindError> {
    let mut body = Vec::new();
    while body.len() <= LARGE
        && let Some(chunk) = response.chunk().await.map_err(failed)?
    {
        append(&mut body, &chunk)?;
    }
    let mut permit = None;
    if body.len() > LARGE {
        permit = Some(large.enter().await?);
        let rest = timeout(LARGE_TIMEOUT, read_rest(&mut response, &mut body)).await;
        let too_slow = |_| KindError::retryable("connection_failed", "The response is too slow");
        rest.map_err(too_slow)??;
    }
    // Most bodies are UTF-8, which is not copied.
    let text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if json_size(&text) > MAX_BODY {
        return Err(too_large("response is", MAX_BODY));
    }
    drop(permit);
    Ok(text)
}

async fn read_rest(response: &mut Response, body: &mut Vec<u8>) -> Result<(), KindError> {
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        append(body, &chunk)?;
    }
    Ok(())
}

fn append(body: &mut Vec<u8>, chunk: &[u8]) -> Result<(), KindError> {
    if body.len() + chunk.len() > MAX_BODY {
        return Err(too_large("response is", MAX_BODY));
    }
    body.extend_from_slice(chunk);
    Ok(())
}

fn too_large(what: &str, limit: usize) -> KindError {
    let message = format!("The {what} larger than {} KiB in JSON", limit / 1024);
    KindError::permanent("response_too_large", message)
}

/// Returns the size of a text in JSON, without quotes.
fn json_size(text: &str) -> usize {
    let size = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::json_size;

    #[test]
    fn size_is_that_of_json() {
        let mut text: String = (0..0x100_u32).filter_map(char::from_u32).collect();
        text.push('\u{1F980}');
        let json = serde_json::to_string(&text).expect("JSON");
        assert_eq!(json_size(&text), json.len() - 2);
    }
}

//! Conditional requests (RFC 9110, section 13).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

/// `If-Match`: the versions that a task may have.
pub(super) struct IfMatch(Option<Vec<u64>>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if !parts.headers.contains_key(IF_MATCH) || tags(&parts.headers, IF_MATCH).any(is_any) {
            return Ok(Self(None));
        }
        Ok(Self(Some(tags(&parts.headers, IF_MATCH).filter_map(version).collect())))
    }
}

impl IfMatch {
    /// Returns the versions; `None` is any.
    pub fn versions(self) -> Option<Vec<u64>> {
        self.0
    }
}

/// `If-None-Match`.
pub(super) struct IfNoneMatch(HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(IF_NONE_MATCH).iter();
        Ok(Self(values.map(|value| (IF_NONE_MATCH, value.clone())).collect()))
    }
}

impl IfNoneMatch {
    /// Whether `etag` matches, by weak comparison.
    pub fn matches(&self, etag: &HeaderValue) -> bool {
        tags(&self.0, IF_NONE_MATCH)
            .any(|tag| is_any(tag) || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
    }
}

/// Returns the entity tags of all headers `name`.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_any(tag: &[u8]) -> bool {
    tag == b"*"
}

/// Returns the version in a strong entity tag of a task.
fn version(tag: &[u8]) -> Option<u64> {
    let text = str::from_utf8(tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()?;
    // Without the hash of a message.
    let text = text.split('-').next()?;
    text.parse().ok().filter(|version: &u64| version.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_tags_of_tasks_are_versions() {
        assert_eq!(version(b"\"17\""), Some(17));
        assert_eq!(version(b"\"17-0a1b2c3d\""), Some(17));
        for tag in [&b"17"[..], b"W/\"17\"", b"\"017\"", b"\"+17\"", b"\"\"", b"\"", b"", b"\"x\""]
        {
            assert_eq!(version(tag), None, "{}", String::from_utf8_lossy(tag));
        }
    }
}

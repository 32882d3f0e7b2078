//! Ids in paths.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::problem::Problem;

/// Extracts the `{id}` of the path. A value that is not a UUID identifies nothing:
/// `id.or(Code::TaskNotFound)?`.
#[derive(Clone, Copy, Debug)]
pub struct Id(Option<Uuid>);

impl Id {
    /// Returns the id, or a problem with `code` if the path has none.
    pub fn or(self, code: Code) -> Result<Uuid, Problem> {
        self.0.ok_or_else(|| Problem::new(code))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A segment that is not UTF-8 identifies nothing either.
        let Ok(params) = RawPathParams::from_request_parts(parts, state).await else {
            return Ok(Self(None));
        };
        let text = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
        Ok(Self(text.and_then(parse)))
    }
}

/// Parses the hyphenated form only, which is the one that responses contain.
fn parse(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_the_hyphenated_form_only() {
        let id = "01900000-0000-7000-8000-000000000001";
        assert_eq!(parse(id).map(|id| id.to_string()).as_deref(), Some(id));
        for text in
            ["", "7", "01900000000070008000000000000001", "{01900000-0000-7000-8000-0000000001}"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

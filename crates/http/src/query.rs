//! Query strings.

use axum::extract::FromRequestParts;
use http::request::Parts;
use miniapp_types::fields::{FromFields, read_query};

use crate::problem::Problem;

/// Extracts a query string. Rejects it with every error of its fields.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: FromFields> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Ok(pairs) = pairs else {
            return Err(Problem::invalid_field("", "the query can't be read"));
        };
        Ok(Self(read_query(pairs.0)?))
    }
}

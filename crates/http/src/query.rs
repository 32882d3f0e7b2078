//! Reading query strings.

use axum::extract::FromRequestParts;
use http::request::Parts;
use miniapp_types::fields::{FromFields, read_query};

use crate::problem::Problem;

/// The query string as a `T`, with every fault told.
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

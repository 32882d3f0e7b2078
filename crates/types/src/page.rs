//! Pagination of lists, newest first.

use utoipa::IntoParams;
use uuid::Uuid;

use crate::fields::{Fields, FromFields};

/// The query parameters `limit` and `cursor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at most; 50 if not given
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub limit: u32,
    /// The `nextCursor` of the page before
    #[param(rename = "cursor", value_type = Option<String>, min_length = 1, max_length = 500)]
    pub before: Option<Uuid>,
}

impl Page {
    pub const MAX_LIMIT: u32 = 200;
    pub const DEFAULT_LIMIT: u32 = 50;
}

impl FromFields for Page {
    fn read(fields: &mut Fields) -> Option<Self> {
        let limit = fields.optional(|fields| fields.integer("limit", 1..=Self::MAX_LIMIT), "limit");
        let cursor = fields.optional(|fields| fields.text("cursor", 1..=500), "cursor");
        let before = cursor.and_then(|cursor| {
            let before = Uuid::try_parse(&cursor).ok();
            if before.is_none() {
                fields.reject("cursor", "must be the nextCursor of a page");
            }
            before
        });
        Some(Self { limit: limit.unwrap_or(Self::DEFAULT_LIMIT), before })
    }
}

/// Returns the `nextCursor` of a page that ends with the item `last`. Its format is opaque to
/// clients and may change.
pub fn cursor(last: Uuid) -> String {
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{BodyError, read_query};

    fn read(pairs: &[(&str, &str)]) -> Result<Page, BodyError> {
        read_query(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn page_has_defaults() {
        assert_eq!(read(&[]), Ok(Page { limit: 50, before: None }));
        let last = Uuid::from_u128(7);
        let page = read(&[("limit", "200"), ("cursor", &cursor(last))]);
        assert_eq!(page, Ok(Page { limit: 200, before: Some(last) }));
    }

    #[test]
    fn invalid_page_is_rejected_field_by_field() {
        for (pairs, expected) in [
            ([("limit", "0"), ("cursor", "x")], ["limit", "cursor"]),
            ([("limit", "201"), ("cursor", "")], ["limit", "cursor"]),
            ([("limit", "1.5"), ("page", "2")], ["limit", "page"]),
        ] {
            let Err(BodyError::Fields(errors)) = read(&pairs) else { panic!("{pairs:?}") };
            let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected);
        }
    }
}

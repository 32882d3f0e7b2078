//! Which page of a list is wanted.

use contracts::fields::{Fields, FromFields};
use uuid::Uuid;

const LONGEST: u32 = 200;
const USUAL: u32 = 50;

/// The query `limit` and `cursor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many items at most.
    pub limit: u32,
    /// The item before it.
    pub before: Option<Uuid>,
}

impl FromFields for Page {
    fn read(fields: &mut Fields) -> Option<Self> {
        let limit = fields.optional(|fields| fields.integer("limit", 1..=LONGEST), "limit");
        let cursor = fields.optional(|fields| fields.text("cursor", 1..=500), "cursor");
        let before = cursor.and_then(|cursor| {
            let before = Uuid::try_parse(&cursor).ok();
            if before.is_none() {
                fields.fault("cursor", "must be the nextCursor of a page");
            }
            before
        });
        Some(Self { limit: limit.unwrap_or(USUAL), before })
    }
}

//! Conversion of values to column values.

use std::borrow::Cow;

/// Converts a number to a column value. Numbers stay far below the limit.
pub(super) fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Replaces NUL, which PostgreSQL cannot store: one task's message must not fail its whole
/// batch.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

//! What PostgreSQL can keep of our values.

use std::borrow::Cow;

/// PostgreSQL's integers are signed; these stay far below the limit.
pub(super) fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What PostgreSQL can keep of a text: anything but NUL. One task's message must not make
/// the batch fail that it is part of.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

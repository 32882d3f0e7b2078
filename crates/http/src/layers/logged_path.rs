//! Paths in logs and spans.

use std::borrow::Cow;

use miniapp_types::account::API_KEY_PREFIX;

const REPLACEMENT: &str = "[key]";

/// Returns a path without API keys, which clients may have put there by mistake.
pub(super) fn logged_path(path: &str) -> Cow<'_, str> {
    let Some(start) = path.find(API_KEY_PREFIX) else { return Cow::Borrowed(path) };
    let (before, mut rest) = path.split_at(start);
    let mut logged = before.to_owned();
    while let Some(key) = rest.strip_prefix(API_KEY_PREFIX) {
        logged.push_str(REPLACEMENT);
        rest = key.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        let next = rest.find(API_KEY_PREFIX).unwrap_or(rest.len());
        logged.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    Cow::Owned(logged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_left_out() {
        for (path, expected) in [
            ("/api/tasks", "/api/tasks"),
            ("/api/tasks/mak_0aZ9", "/api/tasks/[key]"),
            ("/mak_a/x/mak_b;mak_c%20", "/[key]/x/[key];[key]%20"),
            ("/mak_", "/[key]"),
            ("/mak_amak_b", "/[key]_b"),
            ("/make_x", "/make_x"),
        ] {
            assert_eq!(logged_path(path), expected);
        }
    }
}

//! Which build this is.

use std::hint::black_box;
use std::sync::LazyLock;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const MARK: &[u8] = b"miniapp-revision:";
const REVISION: usize = 40;

/// Builds that know their commit write it over the dashes, once all is compiled: a commit that
/// changes no code then compiles nothing. `dev/stamp` does that.
static STAMP: [u8; MARK.len() + REVISION] =
    *b"miniapp-revision:----------------------------------------";

/// The commit that this was built from, in hexadecimal digits; none where it was built from
/// something that was not committed.
pub fn revision() -> Option<&'static str> {
    // The compiler knows what is there now, and not what will be.
    let revision = str::from_utf8(&black_box(&STAMP)[MARK.len()..]).ok()?;
    (!revision.starts_with('-')).then_some(revision)
}

/// The version, with the revision where that is known, as `--version` says it.
pub fn version() -> &'static str {
    static SAID: LazyLock<String> = LazyLock::new(|| match revision() {
        Some(revision) => format!("{VERSION} ({revision})"),
        None => VERSION.to_owned(),
    });
    &SAID
}

//! The `auth` binary.
fn main() {}

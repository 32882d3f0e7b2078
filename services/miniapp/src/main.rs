//! miniapp
fn main() {}

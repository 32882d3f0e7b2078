//! The whole platform with the kinds of this crate.

use std::process::ExitCode;

use miniapp::Platform;
use own_kinds::{Invoice, SETTINGS};

fn main() -> ExitCode {
    Platform::builder().settings(SETTINGS).kind_from(Invoice::from_config).main()
}

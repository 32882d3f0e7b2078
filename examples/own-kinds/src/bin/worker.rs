//! A worker with the kinds of this crate alone.

use std::process::ExitCode;

use miniapp_worker::Worker;
use own_kinds::{Invoice, SETTINGS};

fn main() -> ExitCode {
    Worker::builder()
        .without_built_in_kinds()
        .settings(SETTINGS)
        .kind_from(Invoice::from_config)
        .main()
}

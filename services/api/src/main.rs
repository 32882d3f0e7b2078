//! The `api` binary.

use std::process::ExitCode;

use miniapp_telemetry::Service;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(Service::Api, miniapp_api::serve)
}

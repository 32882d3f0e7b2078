//! The `worker` binary.

use std::process::ExitCode;

use miniapp_telemetry::Service;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(Service::Worker, miniapp_worker::serve)
}

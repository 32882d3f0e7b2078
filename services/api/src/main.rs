//! The `api` binary.

use std::process::ExitCode;

use kit::Service;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kit::run(Service::Api, miniapp_api::serve)
}

//! The `api` program.

use std::process::ExitCode;

use miniapp_config::PLATFORM;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(miniapp_api::PROGRAM, &[PLATFORM], miniapp_api::serve)
}

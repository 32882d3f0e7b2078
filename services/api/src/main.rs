//! The `api` program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(miniapp_api::PROGRAM, miniapp_api::serve)
}

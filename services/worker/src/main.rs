//! The `worker` program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(miniapp_worker::PROGRAM, miniapp_worker::serve)
}

//! The `auth` binary.

use std::process::ExitCode;

use miniapp_config::PLATFORM;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    miniapp_program::run(miniapp_auth::PROGRAM, &[PLATFORM], miniapp_auth::serve)
}

//! The MiniApp platform with a kind of its own.

mod greet;

use std::process::ExitCode;

fn main() -> ExitCode {
    miniapp::Platform::builder().kind(greet::Greet).main()
}

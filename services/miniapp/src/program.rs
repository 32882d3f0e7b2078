//! [`PROGRAM`]: name and version of this program.

use miniapp_program::Program;

use crate::settings::validate;

/// The program that runs the whole platform.
pub const PROGRAM: Program = Program {
    name: "miniapp",
    about: "Accounts, tokens and background tasks in one process",
    admin_port: 9000,
    sections: &[validate],
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: true,
};

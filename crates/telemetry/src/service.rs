//! The programs of the platform.

/// A program of the platform.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
pub enum Service {
    /// Accounts, sessions and tokens.
    Auth,
    /// Tasks over HTTP.
    Api,
    /// Runs tasks.
    Worker,
    /// All of them in one process.
    Miniapp,
}

impl Service {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Api, Self::Worker, Self::Miniapp];

    /// The name in logs, traces and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What it is for, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Auth => "Accounts, sessions and tokens",
            Self::Api => "Tasks over HTTP",
            Self::Worker => "Runs tasks",
            Self::Miniapp => "Accounts, tokens and background tasks in one process",
        }
    }

    /// The port of the admin listener where none is set.
    pub fn admin_port(self) -> u16 {
        match self {
            Self::Auth => 9005,
            Self::Api | Self::Miniapp => 9000,
            Self::Worker => 9001,
        }
    }
}

//! Which keys there are.

/// Sections with all their keys and defaults.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Commented TOML. The type of a default decides how a variable's text is read.
    pub defaults: &'static str,
    /// Keys of URLs that may hold a password. It is never shown, and the value may come
    /// from a file that `..._FILE` names.
    pub secret_urls: &'static [&'static str],
    /// Keys of other secrets, treated alike and never shown at all.
    pub secrets: &'static [&'static str],
}

/// The sections of the platform.
pub const PLATFORM: Schema = Schema {
    defaults: include_str!("../config.default.toml"),
    secret_urls: &["database.url", "broker.url", "mail.url"],
    secrets: &[
        "auth.secret",
        "auth.secret_previous",
        "telemetry.otlp_headers",
        "worker.http_secret_headers",
    ],
};

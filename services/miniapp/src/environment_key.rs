//! The API key of the environment.
//!
//! There is no option for it: other users of the machine see the arguments of a process.

use std::ffi::OsString;

use miniapp_client::Secret;
use miniapp_token::check_api_key;

/// The variable with the key.
pub const VARIABLE: &str = "MINIAPP_API_KEY";

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE} is not an API key; it may be cut off")]
pub struct InvalidKey;

/// Returns whether the environment has a key.
pub fn is_set() -> bool {
    variable().is_some()
}

/// Returns the key, if there is one.
pub fn read() -> Result<Option<Secret>, InvalidKey> {
    variable().map(parse).transpose()
}

fn variable() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|key| !key.is_empty())
}

fn parse(key: OsString) -> Result<Secret, InvalidKey> {
    let key = key.into_string().map_err(|_| InvalidKey)?;
    // Files end with a line break.
    let key = key.trim();
    check_api_key(key).map_err(|_| InvalidKey)?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use miniapp_token::generate_api_key;

    use super::*;

    #[test]
    fn damaged_key_is_noticed() {
        let key = generate_api_key().expect("random bits");
        let text = key.expose();
        assert_eq!(parse(format!(" {text}\n").into()), Ok(key.clone()));
        for damaged in [&text[..50], &text[1..], "x"] {
            assert_eq!(parse(damaged.into()), Err(InvalidKey));
        }
        assert!(!InvalidKey.to_string().contains("mak_"));
    }
}

//! Names of queues and kinds.

use std::fmt::{self, Display};
use std::str::FromStr;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

/// The maximum number of characters of a name.
pub const MAX_NAME: usize = 64;

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {MAX_NAME} characters of a-z, 0-9, -, _ and .")]
pub struct InvalidName;

/// Checks the name of a queue or a kind. The characters are safe in URLs, file names and the names
/// of RabbitMQ's queues.
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let is_name = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed);
    if is_name { Ok(()) } else { Err(InvalidName) }
}

/// The name of a queue of tasks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(ArrayString<MAX_NAME>);

impl QueueName {
    /// The name of the queue of tasks without another one.
    pub const DEFAULT: &str = "default";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_default(&self) -> bool {
        self.as_str() == Self::DEFAULT
    }
}

impl Default for QueueName {
    fn default() -> Self {
        let mut name = ArrayString::new();
        name.push_str(Self::DEFAULT);
        Self(name)
    }
}

impl FromStr for QueueName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check_name(text)?;
        ArrayString::from(text).map(Self).map_err(|_| InvalidName)
    }
}

impl TryFrom<String> for QueueName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.as_str().to_owned()
    }
}

impl Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The name of a kind, as a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindName(pub String);

impl FromStr for KindName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_few_characters() {
        let longest = "a".repeat(MAX_NAME);
        for name in ["a", "default", "gpu-2", "a.b_c-d.9", "0", ".", longest.as_str()] {
            assert_eq!(name.parse::<QueueName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for text in ["", "A", "Gpu", "a b", " a", "a\n", "a/b", "a:b", "ü", "a\u{0}", &too_long] {
            assert_eq!(text.parse::<QueueName>(), Err(InvalidName), "{text:?}");
            assert_eq!(check_name(text), Err(InvalidName), "{text:?}");
        }
        assert!(QueueName::default().is_default());
    }

    #[test]
    fn names_are_strings_in_json() {
        let name: QueueName = serde_json::from_str("\"gpu\"").expect("a name");
        assert_eq!(serde_json::to_string(&name).expect("JSON"), "\"gpu\"");
        assert!(serde_json::from_str::<QueueName>("\"A\"").is_err());
    }
}

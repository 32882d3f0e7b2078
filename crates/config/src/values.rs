//! Durations, sizes and URLs of engines.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};

/// The URL of a database, a broker or a mail server. Its scheme selects the engine. It may
/// hold a password, which is never shown.
#[derive(Clone)]
pub struct EngineUrl(SecretString);

impl EngineUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// Returns the part before `://`.
    pub fn scheme(&self) -> &str {
        self.expose().split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Returns the part after `://`.
    pub fn rest(&self) -> &str {
        self.expose().split_once("://").map_or("", |(_, rest)| rest)
    }

    /// Returns the URL with its password, for connecting.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Adds a parameter to the query.
    #[must_use]
    pub fn with_parameter(&self, parameter: &str, value: &str) -> Self {
        let url = self.expose();
        let separator = if url.contains('?') { '&' } else { '?' };
        Self::new(format!("{url}{separator}{parameter}={value}"))
    }

    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl Display for EngineUrl {
    /// Writes the URL without its password and its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.expose().split_once("://") else {
            return f.write_str(if self.is_empty() { "" } else { "[hidden]" });
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        // An unescaped ? in the password, or an @ in the query: either may hold the secret.
        if query.contains('@') {
            return write!(f, "{scheme}://[hidden]");
        }
        // The last @ ends the password, which may hold unescaped slashes and @s.
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        write!(f, "{scheme}://")?;
        match user.split_once(':') {
            Some((name, _)) => write!(f, "{name}:[hidden]@")?,
            None if user.is_empty() => {}
            None => write!(f, "{user}@")?,
        }
        f.write_str(host)?;
        f.write_str(if rest.contains('?') { "?[hidden]" } else { "" })
    }
}

impl Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineUrl({self})")
    }
}

impl<'de> Deserialize<'de> for EngineUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Whether `url` is an absolute URL of HTTP.
pub fn is_http_url(url: &str) -> bool {
    let url: Option<Uri> = url.parse().ok();
    url.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
    Other(de::IgnoredAny),
}

/// For `#[serde(deserialize_with)]`: a duration such as `15s`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let read = match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(seconds) => Some(Duration::from_secs(seconds)),
        NumberOrText::Text(text) => parse_duration(&text),
        NumberOrText::Other(_) => None,
    };
    read.ok_or_else(|| de::Error::custom("a duration is written like 500ms, 15s, 10m, 12h or 30d"))
}

/// For `#[serde(deserialize_with)]`: a size such as `1MiB`.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let read = match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(bytes) => usize::try_from(bytes).ok(),
        NumberOrText::Text(text) => parse_size(&text),
        NumberOrText::Other(_) => None,
    };
    read.ok_or_else(|| de::Error::custom("a size is written like 512, 64KiB or 1MiB"))
}

/// For `#[serde(deserialize_with)]`: an empty text is `None`.
pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    let read = (!text.is_empty()).then(|| text.parse::<T>()).transpose();
    read.map_err(de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: an empty text is `None`.
pub fn optional_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

/// Parses `1h30m`, `500ms` or a number of seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_length = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            _ => return None,
        };
        let part = Duration::from_millis(number.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.trim().is_empty()).then_some(total)
}

/// Parses `64KiB`, `1MiB` or a number of bytes.
pub fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text.trim())?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_duration_accepts_units_and_sums() {
        let cases = [
            ("15s", 15_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("60", 60_000),
            ("0", 0),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", " ", "s", "5 s", "-1s", "5y", "1.5s", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn parse_size_accepts_binary_units() {
        assert_eq!(parse_size("1MiB"), Some(1 << 20));
        assert_eq!(parse_size("64KiB"), Some(64 << 10));
        assert_eq!(parse_size("512"), Some(512));
        for text in ["", "MiB", "1MB", "-1", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn url_is_displayed_without_secrets() {
        let cases = [
            ("sqlite:///var/lib/m.db", "sqlite:///var/lib/m.db"),
            ("memory://", "memory://"),
            ("postgres://app:s3cr3t@db:5432/m", "postgres://app:[hidden]@db:5432/m"),
            ("postgres://app:s3/c@r3t@db/m", "postgres://app:[hidden]@db/m"),
            ("amqp://guest@mq", "amqp://guest@mq"),
            ("smtp://h?password=s3cr3t", "smtp://h?[hidden]"),
            ("amqp://app:s3?c@r3t@mq/", "amqp://[hidden]"),
            ("smtp://h?password=s3@cr3t", "smtp://[hidden]"),
            ("s3cr3t", "[hidden]"),
            ("", ""),
        ];
        for (url, displayed) in cases {
            let url = EngineUrl::new(url);
            assert_eq!(url.to_string(), displayed);
            assert!(!format!("{url:?}").contains("s3cr3t"));
        }
        for (url, longer) in
            [("amqps://mq/", "amqps://mq/?a=/b"), ("amqp://mq/?c=d", "amqp://mq/?c=d&a=/b")]
        {
            assert_eq!(EngineUrl::new(url).with_parameter("a", "/b").expose(), longer);
        }
        assert_eq!(EngineUrl::new("sqlite:///a").scheme(), "sqlite");
        assert_eq!(EngineUrl::new("sqlite:///a").rest(), "/a");
    }

    proptest::proptest! {
        #[test]
        fn parsers_handle_any_text(text in "\\PC{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }

        #[test]
        fn durations_are_sums_of_their_parts(hours in 0_u64..1000, minutes in 0_u64..1000) {
            let seconds = hours * 3600 + minutes * 60;
            let text = format!("{hours}h{minutes}m");
            proptest::prop_assert_eq!(parse_duration(&text), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn password_is_never_displayed(password in "[a-z/@:?]{4,20}", query in "[a-z=&]{0,9}") {
            let secret = format!("S3CRET{password}S3CRET");
            let url = EngineUrl::new(format!("amqp://user:{secret}@host/v?{query}"));
            proptest::prop_assert!(!url.to_string().contains("S3CRET"), "{}", url);
        }
    }
}

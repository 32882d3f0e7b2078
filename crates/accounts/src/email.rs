//! Email addresses.

use std::fmt;

use email_address::{EmailAddress, Options};
use miniapp_types::fields::Fields;
use miniapp_types::limits;
use unicode_normalization::UnicodeNormalization as _;

/// An address in lower case, as it is compared and stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(Box<str>);

impl Email {
    /// Parses an address. Rejects what could end a header line, and forms that few mail
    /// servers accept: quotes, comments and IP addresses.
    pub fn parse(text: &str) -> Option<Self> {
        let options = Options {
            minimum_sub_domains: 0,
            allow_domain_literal: false,
            allow_display_text: false,
        };
        let is_plain =
            |c: char| !(c.is_whitespace() || c.is_control() || "\"()<>,;:\\".contains(c));
        if !text.chars().all(is_plain) || text.chars().count() > *limits::EMAIL.end() {
            return None;
        }
        EmailAddress::parse_with_options(text, options).ok()?;
        Some(Self(text.nfc().collect::<String>().to_lowercase().into()))
    }

    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Reads an address from a field of a request body.
    pub fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name, limits::EMAIL)?;
        let email = Self::parse(&text);
        if email.is_none() {
            fields.reject(name, "must be an e-mail address such as ada@example.com");
        }
        email
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address and its local part, which a password must not contain.
    pub fn names(&self) -> [&str; 2] {
        [&self.0, self.0.rsplit_once('@').map_or("", |(local, _)| local)]
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_lowercases() {
        assert_eq!(Email::parse("Ada@Example.COM"), Email::parse("ada@example.com"));
        let ada = Email::parse("ada@x.org");
        assert_eq!(ada.as_ref().map(Email::names), Some(["ada@x.org", "ada"]));
    }

    #[test]
    fn parse_rejects_header_injection_and_rare_forms() {
        let rejected = [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c.com",
            "ada@example.com\r\nBcc: x@y.z",
            "ada@exam\nple.com",
            "ada\0@example.com",
            " ada@example.com",
            "\"a b\"@example.com",
            "Ada <ada@example.com>",
            "ada@[127.0.0.1]",
            "ada..l@example.com",
            "ada@-example.com",
        ];
        for text in rejected {
            assert_eq!(Email::parse(text), None, "{text:?}");
        }
        let long = format!("{}@example.com", "a".repeat(300));
        assert_eq!(Email::parse(&long), None);
    }

    #[test]
    fn parse_accepts_common_addresses() {
        for text in ["ada+tag@example.com", "o'hara@mail.example.co.uk", "x@localhost"] {
            assert!(Email::parse(text).is_some(), "{text}");
        }
    }
}

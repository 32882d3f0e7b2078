//! Email addresses.

use std::fmt;
use std::hash::{Hash, Hasher};

use email_address::EmailAddress;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use lettre::address::Address;
use miniapp_types::fields::Fields;
use miniapp_types::limits;

use crate::case_fold::{case_fold, lower_case};

/// The longest local part in bytes (RFC 5321).
const MAX_LOCAL: usize = 64;

/// An address. Two are equal if their domains have the same ASCII form (UTS 46,
/// non-transitional) and their local parts differ at most in case and composition.
#[derive(Clone, Debug)]
pub struct Email {
    lower_case: Box<str>,
    key: Box<str>,
    mailbox: Box<str>,
}

impl Email {
    /// Parses an address. Rejects what could end a header line, what cannot be mailed, and
    /// forms that few mail servers accept: quotes, comments and IP addresses.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain =
            |c: char| !(c.is_whitespace() || c.is_control() || "\"()<>,;:\\".contains(c));
        if !text.chars().all(is_plain) || text.chars().count() > *limits::EMAIL.end() {
            return None;
        }
        let (local, domain) = text.rsplit_once('@')?;
        if local.len() > MAX_LOCAL || !EmailAddress::is_valid_local_part(local) {
            return None;
        }
        let domain = ascii_domain(domain)?;
        let mailbox = format!("{local}@{domain}");
        if mailbox.len() > *limits::EMAIL.end() || mailbox.parse::<Address>().is_err() {
            return None;
        }
        Some(Self {
            lower_case: lower_case(text).into(),
            key: format!("{}@{domain}", case_fold(local)).into(),
            mailbox: mailbox.into(),
        })
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

    /// Returns the address in lower case, as it is displayed. The previous release compares it.
    pub fn as_str(&self) -> &str {
        &self.lower_case
    }

    /// Returns the form in which addresses are compared.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns where mail is sent: the local part as it was typed, and the domain in ASCII.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// Whether the domain has a dot. Mail to other domains stays in the local network.
    pub fn has_dotted_domain(&self) -> bool {
        self.mailbox.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
    }

    /// Returns the address and its local part, which a password must not contain.
    pub fn names(&self) -> [&str; 2] {
        names(&self.lower_case)
    }
}

/// Returns an address and its local part.
pub(crate) fn names(address: &str) -> [&str; 2] {
    [address, address.rsplit_once('@').map_or("", |(local, _)| local)]
}

/// Returns the ASCII form of a domain that mail can be sent to. An IP address is no domain.
fn ascii_domain(domain: &str) -> Option<String> {
    let ascii = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .ok()?;
    let top_level = ascii.rsplit('.').next().unwrap_or_default();
    let is_number = top_level.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| ascii.into_owned())
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Email {}

impl Hash for Email {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lower_case)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parse(text: &str) -> Email {
        Email::parse(text).unwrap_or_else(|| panic!("{text} is an address"))
    }

    #[test]
    fn equal_addresses_are_recognized() {
        let cases: Vec<Value> =
            serde_json::from_str(include_str!("../tests/addresses.json")).expect("cases");
        assert!(!cases.is_empty());
        for case in &cases {
            let [one, other] = ["one", "other"].map(|name| case[name].as_str().expect("text"));
            assert_eq!(parse(one) == parse(other), case["same"], "{one} {other}");
        }
    }

    #[test]
    fn mail_goes_to_local_part_as_typed() {
        for (typed, mailbox, lower_case) in [
            ("Ada@Example.COM", "Ada@example.com", "ada@example.com"),
            ("İ@example.com", "İ@example.com", "i\u{307}@example.com"),
            ("ada@bücher.example", "ada@xn--bcher-kva.example", "ada@bücher.example"),
            ("ada@example\u{3002}com", "ada@example.com", "ada@example\u{3002}com"),
        ] {
            let email = parse(typed);
            assert_eq!((email.mailbox(), email.as_str()), (mailbox, lower_case));
        }
        assert_eq!(parse("ada@x.org").names(), ["ada@x.org", "ada"]);
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
    fn parse_rejects_what_cannot_be_mailed() {
        let long_label = format!("ada@{}.com", "a".repeat(64));
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_in_bytes = format!("{}@example.com", "é".repeat(33));
        let long_domain = format!("ada@{}com", "bücher.".repeat(35));
        for text in [
            "ada@127.0.0.1",
            "ada@example.123",
            "ada@exa_mple.com",
            "ada@example.com.",
            "ada@.com",
            "ada@example..com",
            "ada@example-.com",
            "ada@xn--a.com",
            "ada@xn--\u{fc}.com",
            "ada@\u{202e}moc.elpmaxe",
            "ada@a\u{20}b.com",
            "ada@½.com/x",
            &long_label,
            &long_local,
            &long_in_bytes,
            &long_domain,
        ] {
            assert_eq!(Email::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn parse_accepts_common_addresses() {
        for text in ["ada+tag@example.com", "o'hara@mail.example.co.uk", "a@r3---sn.example"] {
            assert!(parse(text).has_dotted_domain(), "{text}");
        }
        assert!(!parse("x@localhost").has_dotted_domain());
    }
}

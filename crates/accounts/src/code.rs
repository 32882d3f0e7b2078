//! Codes that prove the ownership of an address.

use miniapp_types::account::Secret;
use rand::RngExt as _;
use ring::hmac;
use zeroize::Zeroizing;

use crate::secret::PlatformSecrets;

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Purpose {
    Verification,
    Reset,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Douglas Crockford's Base32.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code that resets a password.
const RESET_LENGTH: usize = 8;

/// The stored form of a code. Without the platform's secret a stolen database doesn't reveal
/// any code.
pub type Mac = [u8; 32];

/// Generates and verifies codes.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    current: hmac::Key,
    /// For codes that were sent before the secret was replaced. A MAC can't be made again
    /// without its code.
    previous: Option<hmac::Key>,
}

impl Codes {
    pub fn new(secrets: &PlatformSecrets) -> Self {
        let keys = secrets.keys_for("codes");
        let key = |bytes: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { current: key(&keys.current), previous: keys.previous.map(|it| key(&it)) }
    }

    /// Returns a new code: six digits, or eight characters if it gives access to an account.
    pub fn generate(purpose: Purpose) -> Secret {
        Secret::new(match purpose {
            Purpose::Verification => format!("{:06}", rand::rng().random_range(0..1_000_000_u32)),
            Purpose::Reset => (0..RESET_LENGTH)
                .map(|_| char::from(CROCKFORD[rand::rng().random_range(0..CROCKFORD.len())]))
                .collect(),
        })
    }

    /// Returns the MAC of a new code, which also covers its purpose and the address it is for.
    pub fn mac(&self, purpose: Purpose, address: &str, code: &Secret) -> Mac {
        sign(&self.current, &message(purpose, address, code))
    }

    /// Returns the MACs that a code may have been stored with.
    pub fn stored_macs(&self, purpose: Purpose, address: &str, code: &Secret) -> Vec<Mac> {
        let message = message(purpose, address, code);
        let keys = std::iter::once(&self.current).chain(&self.previous);
        keys.map(|key| sign(key, &message)).collect()
    }

    /// Returns a MAC that matches no code, for addresses that are not sent one.
    pub fn unmatchable_mac() -> Mac {
        rand::rng().random()
    }
}

/// Whether a word of a mail is a code.
pub fn is_code(word: &str) -> bool {
    let is_digits = word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    is_digits || word.len() == RESET_LENGTH && word.bytes().all(|byte| CROCKFORD.contains(&byte))
}

fn sign(key: &hmac::Key, message: &[u8]) -> Mac {
    let mut mac = [0; 32];
    mac.copy_from_slice(hmac::sign(key, message).as_ref());
    mac
}

fn message(purpose: Purpose, address: &str, code: &Secret) -> Zeroizing<Vec<u8>> {
    let code = match purpose {
        Purpose::Verification => Zeroizing::new(code.expose().to_owned()),
        Purpose::Reset => Zeroizing::new(code.expose().chars().filter_map(canonical).collect()),
    };
    // Neither an address nor a purpose contains a NUL.
    Zeroizing::new([purpose.name(), address, code.as_str()].join("\0").into_bytes())
}

/// Returns the character that was meant: Crockford's alphabet has no case, no I, L and O, and
/// allows hyphens.
fn canonical(typed: char) -> Option<char> {
    match typed.to_ascii_uppercase() {
        'I' | 'L' => Some('1'),
        'O' => Some('0'),
        '-' => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> Codes {
        Codes::new(&PlatformSecrets::new("current", None))
    }

    #[test]
    fn code_is_checked_with_both_secrets() {
        let (address, code) = ("ada@example.com", Secret::new("123456"));
        let before = codes();
        let after = Codes::new(&PlatformSecrets::new("next", Some("current")));
        let mac_of = |codes: &Codes| codes.mac(Purpose::Verification, address, &code);
        assert_ne!(mac_of(&before), mac_of(&after));
        let macs = after.stored_macs(Purpose::Verification, address, &code);
        assert_eq!(macs, [mac_of(&after), mac_of(&before)]);
        let macs = before.stored_macs(Purpose::Verification, address, &code);
        assert_eq!(macs, [mac_of(&before)]);
    }

    #[test]
    fn mac_covers_address_purpose_and_code() {
        let codes = codes();
        let (ada, bob) = ("ada@example.com", "bob@example.com");
        let code = Codes::generate(Purpose::Verification);
        assert!(code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()));
        let mac = codes.mac(Purpose::Verification, ada, &code);
        assert_eq!(codes.mac(Purpose::Verification, ada, &code), mac);
        assert_ne!(codes.mac(Purpose::Reset, ada, &code), mac);
        assert_ne!(codes.mac(Purpose::Verification, bob, &code), mac);
        let other = Secret::new(format!("{}x", code.expose()));
        assert_ne!(codes.mac(Purpose::Verification, ada, &other), mac);
        assert_ne!(Codes::unmatchable_mac(), Codes::unmatchable_mac());
    }

    #[test]
    fn reset_code_is_read_in_any_spelling() {
        let codes = codes();
        let mac = |code: &str| codes.mac(Purpose::Reset, "ada@example.com", &Secret::new(code));
        for spelling in ["1o1lAB0z", "1010-xxxx", "lOIoXxXx", "10-10-XXXX"] {
            let expected = if spelling == "1o1lAB0z" { "1011AB0Z" } else { "1010XXXX" };
            assert_eq!(mac(spelling), mac(expected), "{spelling}");
        }
        assert_ne!(mac("1010XXXX"), mac("1010XXXY"));
        let code = Codes::generate(Purpose::Reset);
        assert!(is_code(code.expose()) && code.expose().len() == 8, "{}", code.expose());
        assert_eq!(mac(code.expose()), mac(&code.expose().to_lowercase()));
        for word in ["MiniApp", "password", "12345", "1234567", "ABCDEFGI", "Hello,"] {
            assert!(!is_code(word), "{word}");
        }
    }
}

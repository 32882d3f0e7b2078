//! Six-digit codes that prove the ownership of an address.

use miniapp_types::account::Secret;
use rand::RngExt as _;
use ring::hmac;

use crate::email::Email;
use crate::secret::PlatformSecret;

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

/// The stored form of a code. Without the platform's secret a stolen database doesn't reveal
/// any code.
pub type Mac = [u8; 32];

/// Generates and verifies codes.
#[derive(Clone, Debug)]
pub struct Codes(hmac::Key);

impl Codes {
    pub fn new(secret: &PlatformSecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &*secret.key_for("codes")))
    }

    pub fn generate(&self) -> Secret {
        Secret::new(format!("{:06}", rand::rng().random_range(0..1_000_000_u32)))
    }

    /// Returns the MAC of a code, which also covers address and purpose.
    pub fn mac(&self, purpose: Purpose, email: &Email, code: &Secret) -> Mac {
        let mut mac = [0; 32];
        let tag = hmac::sign(&self.0, &message(purpose, email, code));
        mac.copy_from_slice(tag.as_ref());
        mac
    }

    /// Returns a MAC that matches no code, for addresses that are not sent one.
    pub fn unmatchable_mac(&self) -> Mac {
        rand::rng().random()
    }

    /// Checks a code in constant time.
    pub fn verify(&self, purpose: Purpose, email: &Email, code: &Secret, mac: &Mac) -> bool {
        hmac::verify(&self.0, &message(purpose, email, code), mac).is_ok()
    }
}

fn message(purpose: Purpose, email: &Email, code: &Secret) -> Vec<u8> {
    // Neither an address nor a purpose contains a NUL.
    [purpose.name(), email.as_str(), code.expose()].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_needs_matching_address_and_purpose() {
        let codes = Codes::new(&PlatformSecret::new(&"s".repeat(32)).expect("a secret"));
        let ada = Email::parse("ada@example.com").expect("an address");
        let bob = Email::parse("bob@example.com").expect("an address");
        let code = codes.generate();
        assert!(code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()));
        let mac = codes.mac(Purpose::Verification, &ada, &code);
        assert!(codes.verify(Purpose::Verification, &ada, &code, &mac));
        assert!(!codes.verify(Purpose::Reset, &ada, &code, &mac));
        assert!(!codes.verify(Purpose::Verification, &bob, &code, &mac));
        let other = Secret::new(format!("{}x", code.expose()));
        assert!(!codes.verify(Purpose::Verification, &ada, &other, &mac));
        let none = codes.unmatchable_mac();
        assert!(none != codes.unmatchable_mac());
        assert!(!codes.verify(Purpose::Verification, &ada, &code, &none));
    }
}

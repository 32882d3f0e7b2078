//! The six digits that prove that a mail arrived.

use miniapp_types::account::Secret;
use rand::RngExt as _;
use ring::hmac;

use crate::email::Email;
use crate::secret::PlatformSecret;

/// What a code lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Purpose {
    /// Register with the address.
    Verification,
    /// Set a new password.
    Reset,
}

impl Purpose {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What is kept of a code. A stolen database gives no code away: trying all million
/// takes the platform's secret.
pub type Mac = [u8; 32];

/// Makes codes and recognizes them.
#[derive(Clone, Debug)]
pub struct Codes(hmac::Key);

impl Codes {
    /// Works with the platform's secret.
    pub fn new(secret: &PlatformSecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &*secret.key_for("codes")))
    }

    /// A new code.
    pub fn make(&self) -> Secret {
        Secret::new(format!("{:06}", rand::rng().random_range(0..1_000_000_u32)))
    }

    /// What is kept of `code`; the same digits differ by address and purpose.
    pub fn mac(&self, purpose: Purpose, email: &Email, code: &Secret) -> Mac {
        let mut mac = [0; 32];
        let tag = hmac::sign(&self.0, &message(purpose, email, code));
        mac.copy_from_slice(tag.as_ref());
        mac
    }

    /// What is kept where no code is sent, which none fits: whoever tries some can't tell
    /// that there is none to find.
    pub fn without_code(&self) -> Mac {
        rand::rng().random()
    }

    /// Whether `code` is the one that `mac` was kept of, in constant time.
    pub fn is_right(&self, purpose: Purpose, email: &Email, code: &Secret, mac: &Mac) -> bool {
        hmac::verify(&self.0, &message(purpose, email, code), mac).is_ok()
    }
}

fn message(purpose: Purpose, email: &Email, code: &Secret) -> Vec<u8> {
    // Neither an address nor a purpose has a NUL.
    [purpose.name(), email.as_str(), code.expose()].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_fits_its_address_and_purpose_alone() {
        let codes = Codes::new(&PlatformSecret::new(&"s".repeat(32)).expect("a secret"));
        let ada = Email::parse("ada@example.com").expect("an address");
        let bob = Email::parse("bob@example.com").expect("an address");
        let code = codes.make();
        assert!(code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()));
        let mac = codes.mac(Purpose::Verification, &ada, &code);
        assert!(codes.is_right(Purpose::Verification, &ada, &code, &mac));
        assert!(!codes.is_right(Purpose::Reset, &ada, &code, &mac));
        assert!(!codes.is_right(Purpose::Verification, &bob, &code, &mac));
        let other = Secret::new(format!("{}x", code.expose()));
        assert!(!codes.is_right(Purpose::Verification, &ada, &other, &mac));
        let none = codes.without_code();
        assert!(none != codes.without_code());
        assert!(!codes.is_right(Purpose::Verification, &ada, &code, &none));
    }
}

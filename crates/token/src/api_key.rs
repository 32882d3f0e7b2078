//! The format of API keys: a prefix, 43 random characters and a checksum of six.
//!
//! The prefix lets scanners find leaked keys. The checksum lets them, and every service, reject
//! what is no key without a lookup.

use miniapp_types::account::{API_KEY_PREFIX, Secret};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::TokenError;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is more than 2^256.
const RANDOM_LENGTH: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM_LENGTH: usize = 6;
const LENGTH: usize = API_KEY_PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH;
/// Characters of a key that are shown.
const SHOWN_LENGTH: usize = API_KEY_PREFIX.len() + 8;
/// The largest multiple of 62 that fits in a byte. Larger bytes would favor some characters.
const UNBIASED: u8 = 248;

/// Returns whether a bearer token is meant as an API key.
pub fn is_api_key(token: &str) -> bool {
    token.starts_with(API_KEY_PREFIX)
}

/// Checks the length, the characters and the checksum of an API key.
pub fn check_api_key(key: &str) -> Result<(), TokenError> {
    let Some((signed, checksum)) = key.split_at_checked(LENGTH - CHECKSUM_LENGTH) else {
        return Err(TokenError::Invalid);
    };
    let random = signed.strip_prefix(API_KEY_PREFIX).ok_or(TokenError::Invalid)?;
    let is_valid = random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && checksum.as_bytes() == checksum_of(signed);
    if is_valid { Ok(()) } else { Err(TokenError::Invalid) }
}

/// Returns a new API key with 256 random bits.
pub fn generate_api_key() -> anyhow::Result<Secret> {
    let random = SystemRandom::new();
    let mut key = Zeroizing::new(String::with_capacity(LENGTH));
    key.push_str(API_KEY_PREFIX);
    let mut bytes = Zeroizing::new([0; 2 * RANDOM_LENGTH]);
    while key.len() < LENGTH - CHECKSUM_LENGTH {
        random.fill(&mut *bytes).map_err(|_| anyhow::anyhow!("no system randomness"))?;
        let missing = LENGTH - CHECKSUM_LENGTH - key.len();
        let unbiased = bytes.iter().filter(|byte| **byte < UNBIASED).take(missing);
        key.extend(unbiased.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    let checksum = checksum_of(&key);
    key.extend(checksum.map(char::from));
    Ok(Secret::new(key.as_str()))
}

/// Returns the first characters of an API key. They identify it and give no access.
pub fn shown_prefix(key: &Secret) -> &str {
    let key = key.expose();
    key.get(..SHOWN_LENGTH).unwrap_or(key)
}

/// Returns the CRC-32 in Base62, the most significant digit first.
fn checksum_of(text: &str) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [BASE62[0]; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Never issued.
    const EXAMPLE: &str = "mak_0000000000000000000000000000000000000000000";

    fn with_checksum(signed: &str) -> String {
        let checksum = checksum_of(signed).map(char::from);
        signed.chars().chain(checksum).collect()
    }

    #[test]
    fn generated_keys_are_valid_and_distinct() {
        let mut seen = BTreeSet::new();
        let mut characters = BTreeSet::new();
        for _ in 0..1000 {
            let key = generate_api_key().expect("random bits");
            let text = key.expose();
            assert!(is_api_key(text) && check_api_key(text).is_ok(), "{text}");
            assert_eq!(text.len(), 53);
            assert_eq!(shown_prefix(&key), &text[..12]);
            characters.extend(text[4..47].bytes());
            assert!(seen.insert(text.to_owned()), "twice");
        }
        assert_eq!(characters.len(), 62, "every character occurs");
    }

    /// Keys of earlier releases stay valid.
    #[test]
    fn format_is_stable() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926, "the CRC-32 of ISO 3309");
        assert_eq!(checksum_of("123456789"), *b"3jZRME");
        assert_eq!(check_api_key(&format!("{EXAMPLE}1L91Gs")), Ok(()));
    }

    #[test]
    fn other_lengths_are_rejected() {
        let key = with_checksum(EXAMPLE);
        for other in [
            String::new(),
            "mak_".to_owned(),
            key[1..].to_owned(),
            key[..key.len() - 1].to_owned(),
            format!("{key}0"),
            format!("{key} "),
            with_checksum(&EXAMPLE[..EXAMPLE.len() - 1]),
            with_checksum(&format!("{EXAMPLE}0")),
            with_checksum(&EXAMPLE.replace("mak_", "MAK_")),
            with_checksum(&EXAMPLE.replacen("_0", "__", 1)),
            with_checksum(&EXAMPLE.replacen("_00", "_\u{e9}", 1)),
        ] {
            assert_eq!(check_api_key(&other), Err(TokenError::Invalid), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_panic(text in any::<String>()) {
            prop_assert_eq!(check_api_key(&text), Err(TokenError::Invalid));
            let _ = check_api_key(&format!("mak_{text}"));
        }

        #[test]
        fn every_random_part_has_one_checksum(random in "[0-9A-Za-z]{43}") {
            let key = with_checksum(&format!("mak_{random}"));
            prop_assert_eq!(check_api_key(&key), Ok(()));
        }

        #[test]
        fn changed_character_is_noticed(
            random in "[0-9A-Za-z]{43}",
            position in 4..53_usize,
            other in "[0-9A-Za-z]",
        ) {
            let key = with_checksum(&format!("mak_{random}"));
            let mut changed = key.clone();
            changed.replace_range(position..=position, &other);
            prop_assert_eq!(check_api_key(&changed).is_ok(), changed == key);
        }

        #[test]
        fn swapped_neighbors_are_noticed(random in "[0-9A-Za-z]{43}", position in 4..52_usize) {
            let key = with_checksum(&format!("mak_{random}"));
            let mut bytes = key.clone().into_bytes();
            bytes.swap(position, position + 1);
            let swapped = String::from_utf8(bytes).expect("text");
            prop_assert_eq!(check_api_key(&swapped).is_ok(), swapped == key);
        }
    }
}

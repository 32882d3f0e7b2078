//! The platform's secret, and keys derived from it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use miniapp_runtime::data_dir;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// In bytes.
const MIN_LENGTH: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("can't use the secret in {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the secret must have at least {MIN_LENGTH} characters")]
    TooShort,
}

/// The secret that all keys are derived from. Processes that share a database must share
/// the secret.
#[derive(Clone)]
pub struct PlatformSecret(Prk);

impl PlatformSecret {
    /// Returns the configured secret, or the one in `data_dir`, which is created if missing.
    pub fn load(configured: Option<&SecretString>, data_dir: &Path) -> Result<Self, SecretError> {
        if let Some(secret) = configured {
            return Self::new(secret.expose_secret());
        }
        let path = data_dir.join("secret");
        let secret = read_or_create(&path).map_err(|source| SecretError::File { path, source })?;
        Self::new(secret.trim_end())
    }

    pub fn new(secret: &str) -> Result<Self, SecretError> {
        if secret.len() < MIN_LENGTH {
            return Err(SecretError::TooShort);
        }
        let salt = Salt::new(HKDF_SHA256, b"miniapp accounts");
        Ok(Self(salt.extract(secret.as_bytes())))
    }

    /// Derives an independent key for each purpose.
    pub fn key_for(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        struct Bytes32;
        impl KeyType for Bytes32 {
            fn len(&self) -> usize {
                32
            }
        }
        let mut key = Zeroizing::new([0; 32]);
        let filled =
            self.0.expand(&[purpose.as_bytes()], Bytes32).and_then(|okm| okm.fill(&mut *key));
        debug_assert!(filled.is_ok(), "HKDF-SHA256 gives up to 8160 bytes");
        key
    }
}

impl std::fmt::Debug for PlatformSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// 256 random bits in URL-safe Base64.
pub(crate) fn random_token() -> anyhow::Result<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| anyhow::anyhow!("no system randomness"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(*bytes))
}

/// Processes that start together get the same secret: one of them writes it.
fn read_or_create(path: &Path) -> io::Result<Zeroizing<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        secret => return secret.map(Zeroizing::new),
    }
    if let Some(directory) = path.parent() {
        data_dir::create(directory)?;
    }
    let mut secret = Zeroizing::new(random_token().map_err(io::Error::other)?);
    secret.push('\n');
    data_dir::write_new(path, secret.as_bytes())?;
    fs::read_to_string(path).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn load_creates_private_secret_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = PlatformSecret::load(None, dir.path()).expect("a secret");
        let again = PlatformSecret::load(None, dir.path()).expect("a secret");
        assert_eq!(first.key_for("a"), again.key_for("a"));
        assert_ne!(first.key_for("a"), first.key_for("b"));
        let files: Vec<_> = fs::read_dir(dir.path()).expect("a listing").collect();
        assert_eq!(files.len(), 1);
        let mode = fs::metadata(dir.path().join("secret")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn configured_secret_takes_precedence() {
        let dir = tempfile::tempdir().expect("a directory");
        let configured = SecretString::from("0123456789abcdef0123456789abcdef");
        let one = PlatformSecret::load(Some(&configured), dir.path()).expect("a secret");
        let other = PlatformSecret::load(None, dir.path()).expect("a secret");
        assert_ne!(one.key_for("a"), other.key_for("a"));
        let short = SecretString::from("short");
        assert!(PlatformSecret::load(Some(&short), dir.path()).is_err());
    }
}

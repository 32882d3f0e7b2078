//! The platform's secret, the one before it, and keys derived from them.

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

use crate::config::{MIN_SECRET_LENGTH, TokenConfig};

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("can't use the secret in {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("there is no secret in {}: set auth.secret, or copy the file there", path.display())]
    Missing { path: PathBuf },
    #[error(
        "the secret in {} must have at least {MIN_SECRET_LENGTH} characters \
         (openssl rand -base64 32 makes one)", path.display()
    )]
    TooShort { path: PathBuf },
    #[error(
        "auth.secret_previous (MINIAPP__AUTH__SECRET_PREVIOUS) is the current secret: set it to the \
         one that was replaced, or remove it"
    )]
    SameTwice,
}

/// The secret that keys are derived from, and the one that it replaces while that is configured.
/// Processes that share a database must share the secrets.
#[derive(Clone)]
pub(crate) struct PlatformSecrets {
    current: Prk,
    previous: Option<Prk>,
}

/// The keys for a purpose. New values are made with the current one. Stored values may have been
/// made with either.
pub(crate) struct DerivedKeys {
    pub current: Zeroizing<[u8; 32]>,
    pub previous: Option<Zeroizing<[u8; 32]>>,
}

impl PlatformSecrets {
    /// Returns the configured secrets. Without a configured one the current secret is in
    /// `data_dir`, and created if it is missing.
    pub(crate) fn load(config: &TokenConfig, data_dir: &Path) -> Result<Self, SecretError> {
        Self::load_with(config, data_dir, read_or_create)
    }

    /// Like [`PlatformSecrets::load`], for a database that has a secret already.
    pub(crate) fn load_existing(
        config: &TokenConfig,
        data_dir: &Path,
    ) -> Result<Self, SecretError> {
        let read = |path: &Path| fs::read_to_string(path).map(Zeroizing::new);
        Self::load_with(config, data_dir, read).map_err(|error| match error {
            SecretError::File { path, source } if source.kind() == io::ErrorKind::NotFound => {
                SecretError::Missing { path }
            }
            error => error,
        })
    }

    fn load_with(
        config: &TokenConfig,
        data_dir: &Path,
        read: impl Fn(&Path) -> io::Result<Zeroizing<String>>,
    ) -> Result<Self, SecretError> {
        let current = match &config.secret {
            Some(secret) => Zeroizing::new(secret.expose_secret().to_owned()),
            None => load_file(data_dir.join("secret"), read)?,
        };
        let previous = config.secret_previous.as_ref().map(SecretString::expose_secret);
        if previous == Some(&**current) {
            return Err(SecretError::SameTwice);
        }
        Ok(Self::new(&current, previous))
    }

    pub(crate) fn new(current: &str, previous: Option<&str>) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"miniapp accounts");
        let extract = |secret: &str| salt.extract(secret.as_bytes());
        Self { current: extract(current), previous: previous.map(extract) }
    }

    /// Derives independent keys for each purpose.
    pub(crate) fn keys_for(&self, purpose: &str) -> DerivedKeys {
        let previous = self.previous.as_ref().map(|secret| expand(secret, purpose));
        DerivedKeys { current: expand(&self.current, purpose), previous }
    }
}

fn expand(secret: &Prk, purpose: &str) -> Zeroizing<[u8; 32]> {
    struct Bytes32;
    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    let filled = secret.expand(&[purpose.as_bytes()], Bytes32).and_then(|okm| okm.fill(&mut *key));
    debug_assert!(filled.is_ok(), "HKDF-SHA256 gives up to 8160 bytes");
    key
}

impl std::fmt::Debug for PlatformSecrets {
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

fn load_file(
    path: PathBuf,
    read: impl Fn(&Path) -> io::Result<Zeroizing<String>>,
) -> Result<Zeroizing<String>, SecretError> {
    let secret = match read(&path) {
        Ok(secret) => Zeroizing::new(secret.trim_end().to_owned()),
        Err(source) => return Err(SecretError::File { path, source }),
    };
    if secret.len() < MIN_SECRET_LENGTH {
        return Err(SecretError::TooShort { path });
    }
    Ok(secret)
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

    use miniapp_config::Config;

    use super::*;

    /// Loads the secrets with these settings.
    fn load(dir: &Path, settings: &[(&str, &str)]) -> Result<PlatformSecrets, SecretError> {
        let config = Config::defaults_in(dir).expect("the defaults");
        let config = settings.iter().fold(config, |config, (key, value)| config.with(key, value));
        PlatformSecrets::load(&config.section().expect("valid"), dir)
    }

    #[test]
    fn load_creates_private_secret_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let [first, again] = [(); 2].map(|()| load(dir.path(), &[]).expect("a secret"));
        let key = |secrets: &PlatformSecrets, purpose| secrets.keys_for(purpose).current;
        assert_eq!(key(&first, "a"), key(&again, "a"));
        assert_ne!(key(&first, "a"), key(&first, "b"));
        let files: Vec<_> = fs::read_dir(dir.path()).expect("a listing").collect();
        assert_eq!(files.len(), 1);
        let mode = fs::metadata(dir.path().join("secret")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn configured_secret_takes_precedence() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = load(dir.path(), &[("auth.secret", &"a".repeat(32))]).expect("a secret");
        let other = load(dir.path(), &[]).expect("a secret");
        assert_ne!(one.keys_for("a").current, other.keys_for("a").current);
        assert!(one.keys_for("a").previous.is_none());
        fs::write(dir.path().join("secret"), "short\n").expect("written");
        assert!(matches!(load(dir.path(), &[]), Err(SecretError::TooShort { .. })));
    }

    #[test]
    fn previous_secret_is_another_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = ("a".repeat(32), "b".repeat(32));
        let before = load(dir.path(), &[("auth.secret", &old)]).expect("a secret");
        let settings = [("auth.secret", &*new), ("auth.secret_previous", &*old)];
        let after = load(dir.path(), &settings).expect("secrets");
        assert_eq!(after.keys_for("a").previous, Some(before.keys_for("a").current));

        let twice = load(dir.path(), &[("auth.secret", &new), ("auth.secret_previous", &new)]);
        assert!(matches!(twice, Err(SecretError::SameTwice)));
        // The file was moved in the settings, but not on the disk.
        fs::write(dir.path().join("secret"), format!("{old}\n")).expect("written");
        let twice = load(dir.path(), &[("auth.secret_previous", &old)]);
        assert!(matches!(twice, Err(SecretError::SameTwice)));
    }
}

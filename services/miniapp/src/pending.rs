//! [`Pending`]: a registration whose e-mail address is verified, kept until the account exists.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use miniapp_client::Secret;
use miniapp_client::account::EmailVerified;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::session_file;

/// The file of a registration that is not complete, one for each platform.
pub struct Pending {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    email: String,
    verified_until: Timestamp,
    registration_token: Secret,
}

impl Pending {
    /// Selects the file for the platform at `api` in `directory`.
    pub fn new(directory: &Path, api: &Url) -> Self {
        let path = directory.join(session_file::file_name(api)).with_extension("registration");
        Self { path }
    }

    /// Returns the token for `email`, if there is one that is still valid.
    pub fn load(&self, email: &str, now: Timestamp) -> Option<Secret> {
        // An unreadable file counts as none: the address is verified again.
        let content: Content = session_file::read(&self.path).ok()??;
        let is_valid = content.email == email && content.verified_until > now;
        is_valid.then_some(content.registration_token)
    }

    /// Stores the token for `email`.
    pub fn save(&self, email: &str, verified: &EmailVerified) -> io::Result<()> {
        let content = Content {
            email: email.to_owned(),
            verified_until: verified.verified_until,
            registration_token: verified.registration_token.clone(),
        };
        session_file::write(&self.path, &content)
    }

    pub fn remove(&self) -> io::Result<()> {
        session_file::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn token_is_kept_for_its_address_until_it_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let api = Url::parse("http://127.0.0.1:8000").expect("a URL");
        let pending = Pending::new(directory.path(), &api);
        assert_eq!(pending.load("a@x.org", at(0)), None);
        let verified = EmailVerified {
            email: "a@x.org".to_owned(),
            verified_until: at(60),
            registration_token: Secret::new("token"),
        };
        pending.save("a@x.org", &verified).expect("writable");
        assert_eq!(pending.load("a@x.org", at(59)), Some(Secret::new("token")));
        assert_eq!(pending.load("a@x.org", at(60)), None);
        assert_eq!(pending.load("b@x.org", at(0)), None);
        pending.remove().expect("removable");
        assert_eq!(pending.load("a@x.org", at(0)), None);
    }
}

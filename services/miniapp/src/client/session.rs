//! Who is signed in where: tokens kept between one command and the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use miniapp_types::account::Secret;
use parking_lot::Mutex;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ClientError;

/// An account's tokens at one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The URL of the service that renews the tokens.
    pub auth: String,
    /// Whose they are.
    pub login: String,
    /// What goes into `Authorization`.
    pub access: Secret,
    /// What makes new ones.
    pub refresh: Secret,
}

/// The place where a session is kept: a file of its own for each platform, or memory.
#[derive(Debug)]
pub struct SessionStore {
    file: Option<PathBuf>,
    held: Mutex<Option<Session>>,
}

impl SessionStore {
    /// Forgets everything with the process.
    pub fn in_memory() -> Self {
        Self { file: None, held: Mutex::new(None) }
    }

    /// Keeps the session for `api` in `directory`, readable by its owner alone.
    pub fn in_directory(directory: &Path, api: &Url) -> Result<Self, ClientError> {
        let file = directory.join(file_name(api));
        let held = read(&file).map_err(|source| fault(&file, source))?;
        Ok(Self { file: Some(file), held: Mutex::new(held) })
    }

    /// The session, if somebody is signed in.
    pub fn current(&self) -> Option<Session> {
        self.held.lock().clone()
    }

    /// Keeps `session`, or forgets the one there was.
    pub fn keep(&self, session: Option<Session>) -> Result<(), ClientError> {
        if let Some(file) = &self.file {
            match &session {
                Some(session) => write(file, session),
                None => remove(file),
            }
            .map_err(|source| fault(file, source))?;
        }
        *self.held.lock() = session;
        Ok(())
    }

    /// Waits until no other process renews this session, and looks at what the last
    /// one left. A refresh token serves once: two that use it at the same time would
    /// look like a theft, and the platform would end the session.
    pub async fn turn(&self) -> Result<Turn, ClientError> {
        let Some(file) = self.file.clone() else { return Ok(Turn { _lock: None }) };
        let reported = file.clone();
        let waited = tokio::task::spawn_blocking(move || {
            let lock = private().create(true).append(true).open(file.with_extension("lock"))?;
            lock.lock()?;
            Ok((lock, read(&file)?))
        });
        let (lock, held) = waited
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|source| fault(&reported, source))?;
        *self.held.lock() = held;
        Ok(Turn { _lock: Some(lock) })
    }
}

/// The right to renew the session, until dropped.
pub struct Turn {
    _lock: Option<File>,
}

/// Where sessions are kept between commands, as the XDG directories say.
pub fn directory() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("miniapp").join("sessions"))
}

/// `http://127.0.0.1:8000/` as `http_127.0.0.1_8000.json`.
fn file_name(api: &Url) -> String {
    let mut name = String::new();
    for part in api.as_str().split(|c: char| !c.is_alphanumeric() && c != '.' && c != '-') {
        if !part.is_empty() {
            name += if name.is_empty() { "" } else { "_" };
            name += part;
        }
    }
    name + ".json"
}

fn read(file: &Path) -> io::Result<Option<Session>> {
    match fs::read(file) {
        // What isn't a session is none, so that signing in puts one in its place.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside the old file and puts the new one in its place, so that nobody ever
/// reads half of it.
fn write(file: &Path, session: &Session) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    let written = private()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&fresh)
        .and_then(|mut target| target.write_all(&serde_json::to_vec(session)?))
        .and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Options that create a file for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn fault(file: &Path, source: io::Error) -> ClientError {
    ClientError::Session { path: file.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn session(access: &str) -> Session {
        Session {
            auth: "http://127.0.0.1:8005/".to_owned(),
            login: "anna".to_owned(),
            access: Secret::new(access),
            refresh: Secret::new("r"),
        }
    }

    #[tokio::test]
    async fn a_session_outlives_its_process_and_is_private() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("sessions");
        let api = Url::parse("http://127.0.0.1:8000").expect("a URL");
        let open = || SessionStore::in_directory(&directory, &api).expect("readable");

        let (one, other) = (open(), open());
        one.keep(Some(session("a"))).expect("writable");
        assert_eq!(other.current(), None);
        drop(other.turn().await.expect("a turn"));
        assert_eq!(other.current(), Some(session("a")));

        let file = directory.join("http_127.0.0.1_8000.json");
        let mode = fs::metadata(&file).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "{broken").expect("writable");
        assert_eq!(open().current(), None);
        one.keep(None).expect("removable");
        assert_eq!(open().current(), None);
        one.keep(None).expect("nothing to remove is fine");
    }
}

//! Sessions on disk: the tokens of each platform, kept between commands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use async_trait::async_trait;
use miniapp_client::{Session, SessionLock, SessionStore};
use parking_lot::Mutex;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Keeps a session in a file that only its owner can read.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// What the file contained when it was last read or written.
    session: Mutex<Option<Session>>,
}

impl SessionFile {
    /// Opens the file for the platform at `api` in `directory`.
    pub fn open(directory: &Path, api: &Url) -> anyhow::Result<Self> {
        let path = directory.join(file_name(api));
        let session =
            read(&path).with_context(|| format!("cannot read the session {}", path.display()))?;
        Ok(Self { path, session: Mutex::new(session) })
    }
}

#[async_trait]
impl SessionStore for SessionFile {
    fn load(&self) -> Option<Session> {
        self.session.lock().clone()
    }

    fn save(&self, session: Option<Session>) -> io::Result<()> {
        match &session {
            Some(session) => write(&self.path, session),
            None => remove(&self.path),
        }
        .map_err(|error| with_path(&self.path, &error))?;
        *self.session.lock() = session;
        Ok(())
    }

    /// Locks out other processes, then reads what the last one wrote.
    async fn lock(&self) -> io::Result<SessionLock> {
        let path = self.path.clone();
        let locked = tokio::task::spawn_blocking(move || lock_and_read(&path)).await;
        let locked = locked.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let (lock, session) = locked.map_err(|error| with_path(&self.path, &error))?;
        *self.session.lock() = session;
        Ok(Box::new(lock))
    }
}

/// Returns the directory for session files, as the XDG specification has it.
pub fn directory() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("miniapp").join("sessions"))
}

/// Replaces the names of this machine by one: they are one platform, with one sign-in.
pub fn canonical(url: &Url) -> Url {
    let mut canonical = url.clone();
    if matches!(url.host_str(), Some("localhost" | "[::1]")) {
        // Fails only for URLs without a host.
        let _ = canonical.set_host(Some("127.0.0.1"));
    }
    canonical
}

/// Returns `http_127.0.0.1_8000.json` for `http://127.0.0.1:8000/`.
pub fn file_name(api: &Url) -> String {
    let api = canonical(api);
    let parts = api.as_str().split(|c: char| !c.is_alphanumeric() && c != '.' && c != '-');
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_") + ".json"
}

fn lock_and_read(path: &Path) -> io::Result<(File, Option<Session>)> {
    create_directory(path)?;
    let lock = private().create(true).append(true).open(path.with_extension("lock"))?;
    lock.lock()?;
    Ok((lock, read(path)?))
}

pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        // Unreadable content counts as none; the next sign-in replaces it.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a new file and renames it, so that no reader sees a partial one.
pub fn write(path: &Path, content: &impl Serialize) -> io::Result<()> {
    create_directory(path)?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = private()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(content)?))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Creates the directory of a file, for its owner only.
fn create_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Returns options that create a file for its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use miniapp_client::Secret;

    use super::*;

    fn session(access: &str) -> Session {
        Session {
            auth_url: "http://127.0.0.1:8005/".to_owned(),
            login: "anna".to_owned(),
            access_token: Secret::new(access),
            refresh_token: Secret::new("r"),
        }
    }

    #[test]
    fn names_of_this_machine_share_a_sign_in() {
        let name = |url| file_name(&Url::parse(url).expect("a URL"));
        for url in ["http://localhost:8000", "http://LOCALHOST:8000/", "http://[::1]:8000"] {
            assert_eq!(name(url), "http_127.0.0.1_8000.json");
        }
        for url in ["http://localhost:8001", "https://localhost:8000", "http://localhost.org:8000"]
        {
            assert_ne!(name(url), "http_127.0.0.1_8000.json");
        }
    }

    #[tokio::test]
    async fn session_file_is_private_and_shared_between_processes() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("sessions");
        let api = Url::parse("http://127.0.0.1:8000").expect("a URL");
        let open = || SessionFile::open(&directory, &api).expect("readable");

        let (one, other) = (open(), open());
        one.save(Some(session("a"))).expect("writable");
        assert_eq!(other.load(), None);
        drop(other.lock().await.expect("the lock"));
        assert_eq!(other.load(), Some(session("a")));

        let path = directory.join("http_127.0.0.1_8000.json");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{broken").expect("writable");
        assert_eq!(open().load(), None);
        one.save(None).expect("removable");
        assert_eq!(open().load(), None);
        one.save(None).expect("nothing to remove is fine");
    }
}

//! Programs and users for the tests of the platform.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use miniapp_test_support::platform::{Engines, Platform, Program, User};
use tokio::sync::Mutex;

pub fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// The program with an empty store on `engines`.
pub async fn program_on(engines: Engines) -> Program {
    program().on(engines).await
}

/// A platform for all tests that only add data. It lives as long as one of them uses it, and
/// allows `http` tasks to reach this machine. The user that registers as `admin` is an admin.
pub async fn shared() -> Arc<Platform> {
    shared_on(Engines::Embedded).await
}

/// The shared platform on `engines`.
pub async fn shared_on(engines: Engines) -> Arc<Platform> {
    static SHARED: LazyLock<Mutex<HashMap<Engines, Weak<Platform>>>> =
        LazyLock::new(Mutex::default);
    let mut shared = SHARED.lock().await;
    if let Some(platform) = shared.get(&engines).and_then(Weak::upgrade) {
        return platform;
    }
    let program = program()
        .set("worker.http_allow_private", true)
        .set("limits.body_timeout", "1s")
        .set("auth.admin_email", "admin@example.com");
    let platform = Arc::new(program.on(engines).await.start().await);
    shared.insert(engines, Arc::downgrade(&platform));
    platform
}

/// Signs up a new user.
pub async fn new_user(platform: &Platform) -> User {
    let id = uuid::Uuid::new_v4().simple().to_string();
    platform.sign_up(&format!("user-{}", &id[..12])).await
}

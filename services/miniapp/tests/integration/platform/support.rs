//! What the tests share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use miniapp_test_support::platform::{Engines, Platform, Program, User};
use tokio::sync::Mutex;

/// The program that is tested.
pub fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// The program, on `engines` of its own.
pub async fn program_on(engines: Engines) -> Program {
    program().on(engines).await
}

/// A platform that those tests share that only add to it. It lives as long as any of them
/// does, and lets `http` tasks reach this machine. Who registers as `admin` is one.
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

/// Somebody new at a platform.
pub async fn somebody(platform: &Platform) -> User {
    let id = uuid::Uuid::new_v4().simple().to_string();
    platform.sign_up(&format!("somebody-{}", &id[..12])).await
}

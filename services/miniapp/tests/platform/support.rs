//! What the tests share.

use std::sync::{Arc, Weak};

use testkit::platform::{Platform, Program, User};
use tokio::sync::Mutex;

/// The program that is tested.
pub fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// A platform that those tests share that only add to it. It lives as long as any of them
/// does, and lets `http` tasks reach this machine. Who registers as `admin` is one.
pub async fn shared() -> Arc<Platform> {
    static SHARED: Mutex<Weak<Platform>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(platform) = shared.upgrade() {
        return platform;
    }
    let program = program()
        .set("worker.http_allow_private", true)
        .set("limits.body_timeout", "1s")
        .set("auth.admin_email", "admin@example.com");
    let platform = Arc::new(program.start().await);
    *shared = Arc::downgrade(&platform);
    platform
}

/// Somebody new at a platform.
pub async fn somebody(platform: &Platform) -> User {
    let id = uuid::Uuid::new_v4().simple().to_string();
    platform.sign_up(&format!("somebody-{}", &id[..12])).await
}

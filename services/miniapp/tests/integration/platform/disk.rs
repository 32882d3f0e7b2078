//! A full disk.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Platform, Program, User, task};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::platform::support::{new_user, program};

/// A mounted file system. Dropping it unmounts it.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a tmpfs on `path`, if this process may.
    pub fn tmpfs(path: &Path, options: &str) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a process that is about to exit may still use it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// A limit of the disk space of the platform.
trait Disk {
    fn fill(&self, platform: &Platform);
    fn free(&self, platform: &Platform);
}

/// A small file system, filled by another file.
struct Full(PathBuf);

impl Disk for Full {
    fn fill(&self, _: &Platform) {
        let mut filler = fs::File::create(&self.0).expect("a file");
        let block = vec![1; 4096];
        while filler.write_all(&block).is_ok() {}
    }

    fn free(&self, _: &Platform) {
        fs::remove_file(&self.0).expect("removed");
    }
}

/// `RLIMIT_FSIZE` of the process.
#[cfg(target_os = "linux")]
struct Limited;

#[cfg(target_os = "linux")]
impl Limited {
    fn set(platform: &Platform, current: Option<u64>) {
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(platform.pid()), Resource::Fsize, limit).expect("a limit");
    }
}

#[cfg(target_os = "linux")]
impl Disk for Limited {
    fn fill(&self, platform: &Platform) {
        Self::set(platform, Some(4096));
    }

    fn free(&self, platform: &Platform) {
        Self::set(platform, None);
    }
}

mod as_root {
    use super::*;

    #[tokio::test]
    #[ignore = "needs root, to mount a file system"]
    async fn full_disk_refuses_tasks_and_loses_none() {
        let program = program();
        let data_dir = program.data_dir();
        fs::create_dir(&data_dir).expect("a directory");
        let _mount = Mount::tmpfs(&data_dir, "size=24m").expect("a mount");
        refuses_tasks_while_full(&program, &Full(data_dir.join("filler"))).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn file_size_limit_refuses_tasks_and_loses_none() {
    refuses_tasks_while_full(&program().with_file_limits_as_errors(), &Limited).await;
}

async fn refuses_tasks_while_full(program: &Program, disk: &dyn Disk) {
    let platform = program.start().await;
    let user = new_user(&platform).await;
    let mut accepted = vec![user.submit("echo", &json!("before")).await.task_id];
    user.until(accepted[0], Status::Finished).await;

    disk.fill(&platform);
    let refused = eventually("a task is refused", async || {
        let answer = submit_large(&user).await;
        if answer.status == 201 {
            accepted.push(answer.text("taskId").parse().expect("a UUID"));
            return None;
        }
        Some(answer)
    })
    .await;
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    refused.expect(503).expect_problem(Code::Unavailable);
    // Reads still work, so the platform stays ready, but degraded.
    assert_eq!(user.task(accepted[0]).await.status, Status::Finished);
    eventually("the platform says that it is degraded", async || {
        let ready = Answer::to(platform.admin_request("/readyz")).await.expect(200);
        (ready.text("status") == "degraded").then_some(())
    })
    .await;

    disk.free(&platform);
    let after = eventually("tasks are accepted again", async || {
        let answer = submit_large(&user).await;
        (answer.status == 201).then(|| answer.text("taskId").parse().expect("a UUID"))
    })
    .await;
    accepted.push(after);
    eventually("all that was accepted has ended", async || {
        let count = user.count_by_status().await;
        (count.get(&Status::Finished) == Some(&accepted.len())).then_some(())
    })
    .await;
    let mut stored: Vec<_> = user.tasks().await.into_iter().map(|task| task.task_id).collect();
    stored.reverse();
    assert_eq!(stored, accepted, "what was refused must leave nothing behind");
    eventually("the platform is well again", async || {
        let ready = Answer::to(platform.admin_request("/readyz")).await;
        (ready.status == 200 && ready.text("status") == "ok").then_some(())
    })
    .await;

    // The data survives a restart.
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let _platform = ended.program.start().await;
    assert_eq!(user.tasks().await.len(), accepted.len());
}

/// Submits a large task.
async fn submit_large(user: &User) -> Answer {
    let data = Value::from("x".repeat(100 * 1024));
    user.try_submit(&task("echo", &data)).await.expect("an answer")
}

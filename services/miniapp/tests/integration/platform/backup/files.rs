//! Backups of the embedded database as files: whole, private, and never in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use miniapp_test_support::eventually;
use miniapp_types::task::Status;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{database, fail, sign_in, succeed};
use crate::platform::support::{new_user, program};

#[tokio::test]
async fn clean_stop_leaves_no_write_ahead_log() {
    let platform = program().start().await;
    let user = new_user(&platform).await;
    let task = user.submit("echo", &json!(1)).await.task_id;
    user.until(task, Status::Finished).await;
    let log = database(platform.program()).with_file_name("miniapp.db-wal");
    assert!(log.metadata().expect("a log").len() > 0);
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!log.exists(), "{}", ended.log);
    // Neither do commands that open the database.
    for command in [&["admin", "grant", &user.login][..], &["mail"], &["check"], &["migrate"]] {
        succeed(&ended.program, command).await;
        assert!(!log.exists(), "{command:?}");
    }
}

/// Each transaction is in the copy or is not.
#[tokio::test]
async fn backup_under_load_is_consistent() {
    let platform = program().start().await;
    let user = new_user(&platform).await;
    let writer = user.clone();
    let writing = tokio::spawn(async move {
        loop {
            writer.submit("flaky", &json!({ "failures": 1 })).await;
        }
    });
    eventually("tasks are running", async || (user.tasks().await.len() > 20).then_some(())).await;
    let file = platform.program().home().join("backup");
    let done = succeed(platform.program(), &["backup", "--json", path(&file)]).await;
    let done: Value = serde_json::from_str(&done).expect("JSON");
    let metadata = file.metadata().expect("a file");
    assert_eq!(done, json!({ "file": file, "bytes": metadata.len() }));
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    writing.abort();
    let program = platform.stop().await.program;
    succeed(&program, &["restore", path(&file)]).await;
    succeed(&program, &["check"]).await;
    assert_eq!(temporary_files(program.home()), Vec::<String>::new());
    assert_eq!(temporary_files(&program.data_dir()), Vec::<String>::new());
}

#[tokio::test]
async fn backup_keeps_existing_files() {
    let (program, empty) = (program().start().await.stop().await.program, program());
    let file = program.home().join("backup");
    fs::write(&file, "an older backup").expect("written");
    let refused = fail(&program, &["backup", path(&file)]).await;
    assert!(refused.contains("exists already"), "{refused}");
    assert_eq!(fs::read(&file).expect("a file"), b"an older backup");
    let nowhere = program.home().join("nowhere/backup");
    let refused = fail(&program, &["backup", path(&nowhere)]).await;
    assert!(refused.contains("cannot write") && refused.contains("No such file"), "{refused}");
    let refused = fail(&empty, &["backup", path(&nowhere)]).await;
    assert!(refused.contains("there is no database at"), "{refused}");
}

/// The limit of a file size stands for a full disk.
#[tokio::test]
async fn backup_on_a_full_disk_leaves_nothing() {
    let program = program().start().await.stop().await.program;
    let file = program.home().join("backup");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" backup \"$1\""])
        .arg(program.binary())
        .arg(&file)
        .env_clear()
        .envs(program.environment())
        .output()
        .expect("a shell");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("cannot write {}", file.display())), "{message}");
    assert!(!file.exists());
    assert_eq!(temporary_files(program.home()), Vec::<String>::new());
}

#[tokio::test]
async fn restore_is_refused_while_a_platform_runs() {
    let platform = program().start().await;
    let program = platform.program().clone();
    let file = program.home().join("backup");
    succeed(&program, &["backup", path(&file)]).await;
    let refused = fail(&program, &["restore", path(&file)]).await;
    assert!(refused.contains("a platform uses the data directory"), "{refused}");
    // Another data directory does not hide it.
    let url = format!("sqlite://{}", database(&program).display());
    let elsewhere = program
        .clone()
        .set("database.url", url)
        .set("data_dir", program.home().join("elsewhere").display());
    let refused = fail(&elsewhere, &["restore", path(&file)]).await;
    assert!(refused.contains("another process uses this database"), "{refused}");
    // Neither does a process that takes no lock of ours.
    platform.stop().await;
    let options = SqliteConnectOptions::new().filename(database(&program));
    let mut other = options.connect().await.expect("a database");
    sqlx::query("SELECT * FROM accounts").fetch_all(&mut other).await.expect("rows");
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut other).await.expect("set");
    sqlx::query("SELECT * FROM accounts").fetch_all(&mut other).await.expect("rows");
    let refused = fail(&program, &["restore", path(&file)]).await;
    assert!(refused.contains("another process uses the database"), "{refused}");
    other.close().await.expect("closed");
    succeed(&program, &["restore", path(&file)]).await;
}

#[tokio::test]
async fn only_intact_backups_are_restored() {
    let program = program().start().await.stop().await.program;
    let good = program.home().join("good");
    succeed(&program, &["backup", path(&good)]).await;
    let before = fs::read(database(&program)).expect("a database");
    let bad = program.home().join("bad");
    let attempt = async |expected: &str| {
        let refused = fail(&program, &["restore", path(&bad)]).await;
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert!(fs::read(database(&program)).expect("a database") == before, "{expected}");
    };
    attempt("cannot read").await;
    fs::write(&bad, "not a database, but long enough to have a header".repeat(9)).expect("written");
    attempt("is no SQLite database").await;
    fs::write(&bad, "").expect("written");
    attempt("is a database of another program").await;

    let mut damaged = fs::read(&good).expect("a backup");
    let middle = damaged.len() / 2;
    damaged[middle..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&bad, damaged).expect("written");
    attempt("is damaged").await;
    fs::copy(&good, &bad).expect("copied");
    fs::write(bad.with_file_name("bad-wal"), "changes").expect("written");
    attempt("its latest changes are in the file").await;
    fs::remove_file(bad.with_file_name("bad-wal")).expect("removed");

    let mut newer = SqliteConnectOptions::new().filename(&bad).connect().await.expect("a copy");
    let insert = "INSERT INTO tasks_migrations SELECT 9999, description, installed_on, success, \
                  checksum, execution_time FROM tasks_migrations LIMIT 1";
    sqlx::query(insert).execute(&mut newer).await.expect("inserted");
    newer.close().await.expect("closed");
    attempt("is of a newer version of this program, which has migration 9999").await;
    assert_eq!(temporary_files(&program.data_dir()), Vec::<String>::new());
}

#[tokio::test]
async fn interrupted_restore_leaves_no_files() {
    let program = program().start().await.stop().await.program;
    // A backup that does not end.
    let file = program.home().join("pipe");
    assert!(Command::new("mkfifo").arg(&file).status().expect("mkfifo").success());
    let restore = program.launch_with(&["restore", path(&file)]);
    let pipe = file.clone();
    let open = move || fs::OpenOptions::new().write(true).open(pipe);
    let writer = tokio::task::spawn_blocking(open).await.expect("no panic").expect("a reader");
    let data_dir = program.data_dir();
    let has_begun = async || (!temporary_files(&data_dir).is_empty()).then_some(());
    eventually("the copy has begun", has_begun).await;
    restore.signal(Signal::INT);
    assert_eq!(restore.ended().await.status.code(), Some(130));
    drop(writer);
    assert_eq!(temporary_files(&data_dir), Vec::<String>::new());
    program.start().await;
}

/// A new secret would hide that the one of the backup is missing.
#[tokio::test]
async fn refused_restore_creates_no_secret() {
    let source = program().start().await.stop().await.program;
    let file = source.home().join("backup");
    succeed(&source, &["backup", path(&file)]).await;
    let empty = program();
    let restore = ["restore", path(&file), "--deleted", "/dev/null"];
    let refused = fail(&empty, &restore).await;
    assert!(refused.contains("there is no secret in"), "{refused}");
    assert!(refused.contains("--new-secret"), "{refused}");
    let secret = empty.data_dir().join("secret");
    assert!(!secret.exists());
    fs::copy(source.data_dir().join("secret"), &secret).expect("copied");
    succeed(&empty, &restore).await;
}

/// A database that cannot be read does not tell which accounts were deleted.
#[tokio::test]
async fn unreadable_database_is_replaced_only_with_deletions() {
    let platform = program().start().await;
    let mut user = new_user(&platform).await;
    let program = platform.stop().await.program;
    let file = program.home().join("backup");
    succeed(&program, &["backup", path(&file)]).await;
    let unreadable = "not a database".repeat(1000);
    fs::write(database(&program), &unreadable).expect("written");
    fs::write(database(&program).with_file_name("miniapp.db-wal"), "of it").expect("written");
    let refused = fail(&program, &["restore", path(&file)]).await;
    assert!(refused.contains("--deleted"), "{refused}");

    let command = ["restore", "--json", path(&file), "--deleted", "/dev/null"];
    let report = succeed(&program, &command).await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let replaced = PathBuf::from(report["replaced"].as_str().expect("a file"));
    assert_eq!(fs::read(&replaced).expect("kept"), unreadable.as_bytes());
    assert!(replaced.with_file_name(format!("{}-wal", name(&replaced))).exists());
    let _platform = program.start().await;
    user.sign_in().await;
}

/// The replaced database is a backup, too.
#[tokio::test]
async fn restore_can_be_undone() {
    let platform = program().start().await;
    let file = platform.program().home().join("backup");
    succeed(platform.program(), &["backup", path(&file)]).await;
    let mut user = new_user(&platform).await;
    let program = platform.kill().await;
    let report = succeed(&program, &["--json", "restore", path(&file)]).await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let replaced = report["replaced"].as_str().expect("a file");
    let platform = program.start().await;
    platform.post_auth("/sign-in", &sign_in(&user)).await.expect(401);
    let program = platform.stop().await.program;
    succeed(&program, &["restore", replaced]).await;
    let _platform = program.start().await;
    user.sign_in().await;
}

fn path(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

fn name(file: &Path) -> &str {
    path(Path::new(file.file_name().expect("a name")))
}

/// Files that a command should have removed.
fn temporary_files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with('.') && name != ".local").collect()
}

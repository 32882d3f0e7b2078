//! A platform that can't start prints one line with the reason.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Finished, Program};
use miniapp_test_support::proxy::{Direction, Proxy};
use miniapp_test_support::{eventually, ports, rabbit};
use serde_json::Value;

use crate::platform::disk::Mount;
use crate::platform::support::program;

/// The output with and without `--json`.
const OUTPUTS: [(&[&str], &str); 2] =
    [(&[], "MiniApp is running."), (&["serve", "--json"], r#""event":"listening""#)];

/// Runs the program, which has to fail, and returns its line on standard error.
async fn refused(program: &Program) -> String {
    let Finished { status, stdout, stderr } = program.run(&[]).await;
    assert!(status.code().is_some_and(|code| code != 0), "{status} {stdout}{stderr}");
    assert_eq!((stderr.lines().count(), stdout.as_str()), (1, ""), "{stderr}");
    stderr
}

#[tokio::test]
async fn data_directory_is_locked_by_one_process() {
    let platform = program().start().await;
    let data_dir = platform.program().data_dir();
    let second = program().set("data_dir", data_dir.display());
    let line = refused(&second).await;
    assert!(line.contains("another process uses"), "{line}");
    assert!(line.contains(&*data_dir.to_string_lossy()) && line.contains("MINIAPP__DATA_DIR"));
    Answer::to(platform.admin_request("/readyz")).await.expect(200);

    // A killed process releases its files.
    platform.kill().await;
    second.start().await;
}

async fn expect_data_directory_refused(program: &Program) {
    let line = refused(program).await;
    assert!(line.contains(&*program.data_dir().to_string_lossy()), "{line}");
    assert!(line.contains("MINIAPP__DATA_DIR"), "{line}");
}

/// Permissions don't apply to root, a read-only mount does.
mod as_root {
    use super::*;

    #[tokio::test]
    #[ignore = "needs root, to mount a file system"]
    async fn read_only_mount_as_data_directory_is_refused() {
        let program = program();
        let data_dir = program.data_dir();
        fs::create_dir(&data_dir).expect("a directory");
        let _mount = Mount::tmpfs(&data_dir, "ro").expect("a mount");
        expect_data_directory_refused(&program).await;
    }
}

mod unprivileged {
    use super::*;

    #[tokio::test]
    #[ignore = "needs a user other than root"]
    async fn read_only_data_directory_is_refused() {
        let program = program();
        let data_dir = program.data_dir();
        fs::create_dir(&data_dir).expect("a directory");
        fs::set_permissions(&data_dir, Permissions::from_mode(0o555)).expect("read-only");
        expect_data_directory_refused(&program).await;
        fs::set_permissions(&data_dir, Permissions::from_mode(0o755)).expect("writable");
    }
}

#[tokio::test]
async fn unknown_setting_is_named_with_a_suggestion() {
    let line = refused(&program().set_variable("MINIAPP__WORKER__CONCURENCY", 4)).await;
    assert!(line.contains("MINIAPP__WORKER__CONCURENCY"), "{line}");
    assert!(line.contains("did you mean MINIAPP__WORKER__CONCURRENCY?"), "{line}");

    let program = program();
    let file = program.home().join("miniapp.toml");
    fs::write(&file, "[worker]\nlaese = \"15s\"\n").expect("written");
    let line = refused(&program.set_variable("MINIAPP_CONFIG", file.display())).await;
    assert!(line.contains("worker.laese") && line.contains("did you mean worker.lease?"), "{line}");
    assert!(line.contains("miniapp.toml"), "{line}");
}

#[tokio::test]
async fn invalid_value_is_named_with_its_source() {
    for (key, value) in [
        ("worker.lease", "soon"),
        ("worker.concurrency", "0"),
        ("api.listen", "here"),
        ("database.url", "mysql://localhost"),
        ("auth.secret", "too short"),
        ("log.level", "=="),
    ] {
        let line = refused(&program().set(key, value)).await;
        let section = key.split('.').next().expect("a section");
        assert!(line.contains(section), "{key}: {line}");
        assert!(key != "auth.secret" || !line.contains(value), "{line}");
    }
}

#[tokio::test]
async fn used_port_is_named() {
    let platform = program().start().await;
    for key in ["api.listen", "auth.listen", "admin.listen"] {
        let taken = platform.program().setting(key).to_owned();
        let program = program().set(key, &taken);
        let line = refused(&program).await;
        assert!(line.contains(&taken) && line.contains(key), "{line}");

        let Finished { status, stdout, stderr } = program.run(&["serve", "--json"]).await;
        assert_eq!((status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
        let output: Value = serde_json::from_str(&stderr).expect("JSON");
        let error = output["error"].as_str().expect("an error");
        assert!(error.contains(&taken) && error.contains(key), "{error}");
    }
}

#[tokio::test]
async fn changed_auth_secret_prevents_start() {
    let program = program().set_secret("sealed the keys, for-development-only");
    program.start().await.stop().await;
    let other = program.set_secret("comes too late, for-development-only");
    // A single line shows that nothing had been started.
    let line = refused(&other).await;
    assert!(line.contains("MINIAPP__AUTH__SECRET_PREVIOUS"), "{line}");
}

#[tokio::test]
async fn published_secret_prevents_start() {
    for secret in
        ["for-development-only-and-known-to-everybody", "a-random-text-of-at-least-32-characters"]
    {
        let line = refused(&program().set("auth.secret", secret)).await;
        for expected in ["MINIAPP__AUTH__SECRET", "is published", "openssl rand -base64 32"] {
            assert!(line.contains(expected), "{line}");
        }
        assert!(!line.contains(secret), "{line}");
    }
}

#[tokio::test]
async fn missing_broker_is_waited_for() {
    for (arguments, up) in OUTPUTS {
        let url = format!("amqp://guest:guest@127.0.0.1:{}", ports::free());
        let platform = program().set("broker.url", url).launch_with(arguments);
        let logged = async || {
            let log = platform.log();
            (log.contains("can't connect to 127.0.0.1") && log.contains("refused")).then_some(())
        };
        eventually("the outage is logged", logged).await;
        let answer = eventually("it serves requests", async || {
            Answer::try_to(platform.admin_request("/readyz")).await.ok()
        });
        assert_eq!(answer.await.status, 503);
        // Longer than a retry.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(!platform.shown().contains(up), "{}", platform.output());
        let ended = platform.stop().await;
        assert!(ended.status.success(), "{arguments:?}: {}", ended.status);
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn platform_is_up_once_its_broker_responds() {
    let server = rabbit::Server::shared().await;
    for (arguments, up) in OUTPUTS {
        let url = server.host().await.expect("a virtual host");
        let at = format!("localhost:{}", server.port());
        let proxy = Proxy::to(&at, 1).await.expect("a proxy");
        proxy.stall(Direction::Both);
        let url = url.expose().replace(&at, &proxy.address().to_string());
        let platform = program().set("broker.url", url).launch_with(arguments);
        let logged = async || platform.log().contains("didn't answer in time").then_some(());
        eventually("the outage is logged", logged).await;
        assert!(!platform.shown().contains(up), "{}", platform.output());
        proxy.heal();
        eventually("it is up", async || platform.shown().contains(up).then_some(())).await;
        let platform = platform.ready().await;
        assert!(platform.stop().await.status.success());
    }
}

//! Installed programs that the tests run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program until the guard's standard input is closed, which also happens when the test
/// process dies.
const GUARD: &str = r#"
log=$1; shift
"$@" >"$log" 2>&1 &
program=$!
read -r _
kill -KILL "$program"
"#;

/// The folder with the tested files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observability")
}

/// `prometheus` or `promtool`.
pub fn prometheus(name: &str) -> Program {
    let program = in_path(name);
    Program(program.unwrap_or_else(|| {
        panic!("{name} is not installed: crates/test-support/install-servers installs it")
    }))
}

pub fn jaeger() -> Program {
    let program = miniapp_test_support::jaeger::program();
    Program(program.expect("Jaeger is not installed: ./test traces builds it"))
}

/// The OpenTelemetry Collector: the program that `MINIAPP_OTELCOL` names, or one in the `PATH`.
pub fn collector() -> Program {
    let chosen = std::env::var_os("MINIAPP_OTELCOL").filter(|path| !path.is_empty());
    let found = chosen
        .map(PathBuf::from)
        .or_else(|| ["otelcol-contrib", "otelcol"].into_iter().find_map(in_path));
    Program(found.expect("otelcol-contrib is not installed, and MINIAPP_OTELCOL names none"))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(name)).find(|program| program.is_file())
}

/// An installed program.
pub struct Program(PathBuf);

impl Program {
    /// Runs it in the folder. Returns whether it succeeded, and its output.
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(&self.0).args(arguments).current_dir(folder()).output();
        let output = output.expect("it runs");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Runs it in the folder and panics if it fails.
    pub fn expect_success(&self, arguments: &[&str]) {
        let (has_succeeded, output) = self.run(arguments);
        assert!(has_succeeded, "{} {}: {output}", self.0.display(), arguments.join(" "));
    }

    /// Starts it in the folder. Its output goes to `log`.
    pub fn start(&self, arguments: &[&str], variables: &[(&str, String)], log: &Path) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(log).arg(&self.0).args(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(folder()).stdin(Stdio::piped());
        Running { guard: command.spawn().expect("a shell"), log: log.to_owned() }
    }
}

/// A running program. Dropping it kills the process.
pub struct Running {
    guard: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        if std::thread::panicking() {
            let output = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("---- {} ----\n{output}", self.log.display());
        }
    }
}

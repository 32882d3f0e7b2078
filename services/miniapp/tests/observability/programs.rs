//! Programs that are installed, or aren't.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program until its own input ends, which it does with the process that holds the
/// other side, however that ends.
const GUARD: &str = r#"
log=$1; shift
"$@" >"$log" 2>&1 &
program=$!
read -r _
kill -KILL "$program"
"#;

/// The folder with what is tried.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observability")
}

/// A program of Prometheus. `None`: only what needs no servers is to be tested.
pub fn of_prometheus(name: &str) -> Option<Program> {
    if miniapp_test_support::only_embedded() {
        return None;
    }
    let program = in_path(name).unwrap_or_else(|| {
        panic!(
            "{name} is not installed: on Debian and Ubuntu, apt-get install prometheus; or set \
             MINIAPP_TESTS=embedded to test without"
        )
    });
    Some(Program(program))
}

/// A program that is tried where it is there: the one that `variable` names, or that is in
/// the path under one of `names`.
pub fn optional(variable: &str, names: &[&str]) -> Option<Program> {
    let chosen = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = chosen.or_else(|| names.iter().find_map(|name| in_path(name)));
    if found.is_none() {
        eprintln!("skipped: {} is not installed, and {variable} names none", names[0]);
    }
    found.map(Program)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(name)).find(|program| program.is_file())
}

/// A program that is there.
pub struct Program(PathBuf);

impl Program {
    /// Runs it in the folder to its end: whether it was content, and all that it said.
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(&self.0).args(arguments).current_dir(folder()).output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs it in the folder, and it has to be content.
    pub fn accepts(&self, arguments: &[&str]) {
        let (is_content, said) = self.run(arguments);
        assert!(is_content, "{} {}: {said}", self.0.display(), arguments.join(" "));
    }

    /// Runs it in the folder until what this gives is dropped; `log` gets what it says.
    pub fn start(&self, arguments: &[&str], variables: &[(&str, String)], log: &Path) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(log).arg(&self.0).args(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(folder()).stdin(Stdio::piped());
        Running { guard: command.spawn().expect("a shell"), log: log.to_owned() }
    }
}

/// A program that runs until this is dropped.
pub struct Running {
    guard: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("---- {} ----\n{said}", self.log.display());
        }
    }
}

//! Runs a command for a task.
//!
//! The command gets the data of the task on standard input and writes the result to standard
//! output. It runs in a process group of its own, which is ended with it: a process that it leaves
//! behind would keep its files open.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use command_fds::{CommandFdExt as _, FdMapping};
use miniapp_types::worker::{AttemptError, ClaimedTask};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command as TokioCommand};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::attempt::{Attempt, Report};
use super::outcomes::Outcome;
use super::output::{LastLines, parse_report, read_lines, read_result, to_result};

/// The file descriptor for reports of progress.
const REPORT_FD: i32 = 3;
/// The exit code of a temporary failure (`EX_TEMPFAIL` of sysexits).
const TEMPORARY_FAILURE: i32 = 75;
/// How long a command may take to end after SIGTERM. The platform waits for 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long output is read after the process group has ended. A process that left the group may
/// keep it open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);
/// The key of the worker is not for the command.
const API_KEY: &str = "MINIAPP_API_KEY";

#[derive(Debug)]
pub(super) struct Command {
    /// The program and its arguments.
    line: Vec<OsString>,
}

/// What the command has written so far.
#[derive(Debug, Default)]
struct Output {
    /// `None` until the end of standard output, or if it is too large.
    result: Mutex<Option<Vec<u8>>>,
    errors: Mutex<LastLines>,
    /// Standard output is too large. The command may be ended by SIGPIPE then.
    is_too_large: AtomicBool,
    /// Notified when it is.
    too_large: Notify,
}

impl Command {
    pub fn new(line: Vec<OsString>) -> Self {
        Self { line }
    }

    /// Runs the command until it ends or has to stop.
    pub async fn run(&self, claimed: &ClaimedTask, attempt: &Arc<Attempt>) -> Outcome {
        let (mut child, reports) = match self.spawn(claimed) {
            Ok(spawned) => spawned,
            Err(error) => return failure("command_not_started", &format!("{error:#}"), true),
        };
        let output = Arc::new(Output::default());
        let mut streams = read(&mut child, reports, attempt, &output);
        if let Some(mut stdin) = child.stdin.take() {
            let data = claimed.data.get().to_owned();
            // A command need not read its input.
            streams.spawn(async move { _ = stdin.write_all(data.as_bytes()).await });
        }
        let group = Group::of(&child);
        let status = tokio::select! {
            biased;
            status = child.wait() => status,
            () = attempt.stopped() => group.stop(&mut child).await,
            () = output.too_large.notified() => group.stop(&mut child).await,
        };
        group.signal(Signal::KILL);
        if timeout(OUTPUT_TIMEOUT, async { while streams.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            streams.abort_all();
        }
        if let Some(reason) = attempt.stop_reason() {
            return Outcome::Stopped(reason);
        }
        match status {
            Ok(_) if output.is_too_large.load(Ordering::Relaxed) => too_large(),
            Ok(status) => of_status(status, &output),
            Err(error) => failure("command_not_started", &error.to_string(), true),
        }
    }

    fn spawn(&self, claimed: &ClaimedTask) -> anyhow::Result<(Child, pipe::Receiver)> {
        let [program, arguments @ ..] = self.line.as_slice() else {
            anyhow::bail!("no command");
        };
        let (reports, reporter) = std::io::pipe()?;
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            .env_remove(API_KEY)
            .env("MINIAPP_TASK_ID", claimed.task_id.to_string())
            .env("MINIAPP_KIND", &claimed.kind)
            .env("MINIAPP_ATTEMPT", claimed.attempt.to_string())
            .env("MINIAPP_MAX_ATTEMPTS", claimed.max_attempts.to_string())
            .env("MINIAPP_GENERATION", claimed.generation.to_string())
            .env("MINIAPP_ATTEMPT_ID", &claimed.attempt_id)
            .env("MINIAPP_IDEMPOTENCY_KEY", &claimed.idempotency_key)
            .env("MINIAPP_TTL", claimed.ttl.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        match &claimed.traceparent {
            Some(traceparent) => command.env("TRACEPARENT", traceparent),
            None => command.env_remove("TRACEPARENT"),
        };
        let mapping = FdMapping { parent_fd: reporter.into(), child_fd: REPORT_FD };
        command.fd_mappings(vec![mapping]).context("can't pass a file descriptor")?;
        let mut command = TokioCommand::from(command);
        let child = command.kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("can't start {}", program.to_string_lossy()))?;
        // Dropping the command closes this end of the pipe.
        drop(command);
        Ok((child, pipe::Receiver::from_owned_fd(reports.into())?))
    }
}

/// The process group of a command.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Fails if it has ended.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends the processes, by force after a while.
    async fn stop(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(STOP_TIMEOUT, child.wait()).await {
            return status;
        }
        self.signal(Signal::KILL);
        child.wait().await
    }
}

/// Reads the streams of a command in the background.
fn read(
    child: &mut Child,
    reports: pipe::Receiver,
    attempt: &Arc<Attempt>,
    output: &Arc<Output>,
) -> JoinSet<()> {
    let mut streams = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        let output = output.clone();
        streams.spawn(async move {
            if let Some(result) = read_result(stdout).await {
                *output.result.lock() = Some(result);
            } else {
                output.is_too_large.store(true, Ordering::Relaxed);
                output.too_large.notify_one();
            }
        });
    }
    if let Some(stderr) = child.stderr.take() {
        let (attempt, output) = (attempt.clone(), output.clone());
        streams.spawn(read_lines(BufReader::new(stderr), move |line| {
            if let Some(report) = parse_report(&line) {
                return attempt.report(report);
            }
            attempt.report(Report { progress: None, message: Some(line.clone()) });
            output.errors.lock().push(line);
        }));
    }
    let attempt = attempt.clone();
    streams.spawn(read_lines(BufReader::new(reports), move |line| {
        let text = || Report { progress: None, message: Some(line.clone()) };
        attempt.report(parse_report(&line).unwrap_or_else(text));
    }));
    streams
}

fn of_status(status: ExitStatus, output: &Output) -> Outcome {
    if status.success() {
        let result = output.result.lock().take().unwrap_or_default();
        return to_result(&result).map_or_else(too_large, Outcome::Result);
    }
    let (code, end) = match (status.code(), status.signal()) {
        (Some(TEMPORARY_FAILURE), _) => ("temporary_failure".to_owned(), "code 75".to_owned()),
        (Some(code), _) => (format!("exit_{code}"), format!("code {code}")),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            (format!("signal_{signal}"), format!("signal {signal}"))
        }
    };
    let mut message = output.errors.lock().text();
    if message.trim().is_empty() {
        message = format!("The command ended with {end}");
    }
    failure(&code, &message, status.code() == Some(TEMPORARY_FAILURE))
}

fn too_large() -> Outcome {
    let limit = miniapp_types::limits::MAX_RESULT_BYTES;
    failure("result_too_large", &format!("The result has more than {limit} bytes of JSON"), false)
}

fn failure(code: &str, message: &str, retry: bool) -> Outcome {
    let (code, message) = (code.to_owned(), message.to_owned());
    Outcome::Error(AttemptError { code, message, retry, retry_in_seconds: None })
}

//! Runs a command for each task of a kind, on a platform that is reached over HTTP.

mod attempt;
mod command;
mod heartbeats;
mod outcomes;
mod output;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use miniapp_client::{Client, Error};
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::worker::{ClaimRequest, ClaimedTask, WorkerKind};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use self::attempt::{Attempt, Attempts, Stop};
use self::command::Command;
use crate::ui::Ui;

/// Proxies often end a request after 15 s without a response.
const WAIT_SECONDS: u32 = 10;
/// The maximum number of tasks of a claim call.
const MAX_CLAIMS: usize = 100;

/// What a worker runs, and how.
#[derive(Debug)]
pub struct CommandWorker {
    pub client: Client,
    pub ui: Ui,
    pub name: String,
    pub kind: WorkerKind,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    pub queues: Option<Vec<String>>,
    /// How many commands run at once.
    pub concurrency: u16,
    /// How long running commands may continue when the worker has to stop.
    pub grace: Duration,
}

/// Ends the worker: the platform refuses it or its key.
#[derive(Debug, Default)]
struct Fatal(Mutex<Option<Error>>);

impl Fatal {
    /// Begins the shutdown if repeating a call is of no use. Returns whether it is.
    fn is_temporary(&self, error: Error, shutdown: &Shutdown) -> bool {
        let is_temporary = error.is_transient()
            || matches!(&error, Error::Problem { problem, .. } if matches!(problem.status, 408 | 425 | 429));
        if is_temporary {
            return true;
        }
        self.0.lock().get_or_insert(error);
        shutdown.begin();
        false
    }

    fn has_occurred(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl CommandWorker {
    /// Works until the shutdown. Returns an error if the platform refuses the worker.
    pub async fn run(self, shutdown: &Shutdown) -> Result<(), Error> {
        self.ui.note(format!("Worker {} runs tasks of kind {}.", self.name, self.kind.name));
        let fatal = Fatal::default();
        let attempts = Attempts::default();
        let running = TaskTracker::new();
        let (outcomes, settled) = mpsc::unbounded_channel();
        let command = Arc::new(Command::new(self.command.clone()));
        let working = async {
            self.claim(shutdown, &fatal, |claimed, permit| {
                let attempt = Arc::new(Attempt::new(&claimed));
                attempts.insert(&attempt);
                let (command, outcomes) = (command.clone(), outcomes.clone());
                running.spawn(async move {
                    let outcome = command.run(&claimed, &attempt).await;
                    // The receiver ends after the last sender.
                    let _ = outcomes.send((attempt, outcome));
                    drop(permit);
                });
            })
            .await;
            running.close();
            self.drain(&running, &attempts, &fatal, shutdown).await;
            drop(outcomes);
        };
        let settling = outcomes::run(&self, settled, &attempts, &fatal, shutdown);
        let renewing = heartbeats::run(&self, &attempts, &fatal, shutdown);
        tokio::select! {
            biased;
            ((), ()) = async { tokio::join!(working, settling) } => {}
            () = renewing => {}
        }
        match fatal.0.into_inner() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn claim(
        &self,
        shutdown: &Shutdown,
        fatal: &Fatal,
        mut start: impl FnMut(ClaimedTask, OwnedSemaphorePermit),
    ) {
        let slots = Arc::new(Semaphore::new(self.concurrency.into()));
        let stop = shutdown.token();
        let mut retry = Retry::new("claiming tasks", rand::random());
        while !shutdown.has_begun() {
            let Some(Ok(permit)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await
            else {
                return;
            };
            let mut permits = vec![permit];
            while permits.len() < MAX_CLAIMS
                && let Ok(permit) = slots.clone().try_acquire_owned()
            {
                permits.push(permit);
            }
            let request = ClaimRequest {
                worker: self.name.clone(),
                kinds: vec![self.kind.clone()],
                queues: self.queues.clone(),
                max: u32::try_from(permits.len()).unwrap_or(u32::MAX),
                wait_seconds: WAIT_SECONDS,
            };
            // An interrupted call returns its tasks: the API notices the end of the connection.
            let Some(claimed) = stop.run_until_cancelled(self.client.claim_tasks(&request)).await
            else {
                return;
            };
            match claimed {
                Ok(claims) => {
                    retry.recovered();
                    for claimed in claims.claims {
                        if let Some(permit) = permits.pop() {
                            start(claimed, permit);
                        }
                    }
                }
                Err(error) => {
                    let delay = retry.failed(&error);
                    self.ui.note(format!("Claiming tasks failed: {error}"));
                    if !fatal.is_temporary(error, shutdown) {
                        return;
                    }
                    stop.run_until_cancelled(sleep(delay)).await;
                }
            }
        }
    }

    /// Waits for running commands during the grace period, then stops them.
    async fn drain(
        &self,
        running: &TaskTracker,
        attempts: &Attempts,
        fatal: &Fatal,
        shutdown: &Shutdown,
    ) {
        if !fatal.has_occurred() {
            tokio::select! {
                ended = timeout(self.grace, running.wait()) => if ended.is_ok() { return },
                () = shutdown.aborted() => {}
            }
        }
        let reason = if fatal.has_occurred() { Stop::Lost } else { Stop::Shutdown };
        attempts.stop_all(reason);
        running.wait().await;
    }
}

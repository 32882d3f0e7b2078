//! HTTP client for MiniApp.
//!
//! [`Client`] covers accounts and sessions, tasks, and live events. Access tokens are
//! refreshed when they expire, and event streams resume after a broken connection.
//! Every failed call returns an [`Error`]; responses with a problem document (RFC 9457)
//! carry its [`Code`], so that callers can match on it.
//!
//! ```no_run
//! use futures_util::TryStreamExt as _;
//! use miniapp_client::{Client, NewTask, Secret};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:8000").build()?;
//! client.sign_in("ada", Secret::new("seven quiet lanterns")).await?;
//!
//! let task = client.submit(&NewTask::new("echo", &"hello")?).await?;
//! let mut events = client.watch(task.task_id);
//! while let Some(event) = events.try_next().await? {
//!     println!("{} {:.0} %", event.kind, event.progress * 100.0);
//! }
//! println!("{:?}", client.task(task.task_id).await?.result);
//! # Ok(())
//! # }
//! ```

mod accounts;
mod administration;
mod builder;
mod client;
mod error;
mod events;
mod retry;
mod session;
mod tasks;
mod workers;

pub use administration::PageQuery;
pub use builder::ClientBuilder;
pub use client::Client;
pub use error::{Error, UnknownProblem};
pub use events::EventStream;
pub use miniapp_types::account::Secret;
pub use miniapp_types::problem::{Code, Problem};
pub use miniapp_types::{account, task, worker};
pub use retry::retry;
pub use session::{MemoryStore, Session, SessionLock, SessionStore};
pub use tasks::{NewTask, TaskQuery};

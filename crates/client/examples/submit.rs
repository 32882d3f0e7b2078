//! Signs in, submits a task, and prints its events and its result.
//!
//! Start a platform with `cargo run`, create an account with `cargo run -- register`, then:
//! `cargo run -p miniapp-client --example submit -- LOGIN PASSWORD`

use std::env;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use miniapp_client::{Client, Code, NewTask, Secret};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = env::args().skip(1);
    let (login, password) = args.next().zip(args.next()).context("usage: submit LOGIN PASSWORD")?;

    let client = Client::builder("http://127.0.0.1:8000").build()?;
    match client.sign_in(&login, Secret::new(password)).await {
        Err(error) if error.code() == Some(Code::CredentialsInvalid) => {
            anyhow::bail!("wrong login or password")
        }
        session => session?,
    };

    let input = json!({"hello": "world"});
    let task = client.submit(&NewTask::new("echo", &input)?.description("Hello")).await?;
    let mut events = client.watch(task.task_id);
    while let Some(event) = events.try_next().await? {
        println!("{:<10} {:>3.0} %", event.kind, event.progress * 100.0);
    }
    println!("{:?}", client.task(task.task_id).await?.result);
    client.sign_out().await?;
    Ok(())
}

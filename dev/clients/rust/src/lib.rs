//! The main flow with the clients that progenitor generates.

pub mod auth {
    include!(concat!(env!("OUT_DIR"), "/auth.rs"));
}

pub mod api {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

use api::types::{Problem, Status, SubmitTask, Task};
use auth::types::{PasswordSignIn, Refresh, SignIn};
use futures::TryStreamExt as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

pub type Error = Box<dyn std::error::Error>;

pub async fn sign_in(login: &str, password: &str) -> Result<String, Error> {
    let client = auth::Client::new("http://127.0.0.1:8005");
    let body = SignIn::PasswordSignIn(PasswordSignIn {
        login: login.parse()?,
        password: password.parse()?,
        client: Some("example".parse()?),
    });
    let tokens = client.sign_in(&body).await?.into_inner();
    let refresh = Refresh { refresh_token: tokens.refresh_token.parse()? };
    Ok(client.refresh_tokens(&refresh).await?.into_inner().auth_token)
}

pub async fn run(token: &str) -> Result<Task, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    let client = api::Client::new_with_client("http://127.0.0.1:8000", http);
    let body = SubmitTask {
        description: "An example".parse()?,
        data: serde_json::json!({ "hello": "world" }),
        ttl: 30.try_into()?,
        kind: Some("echo".parse()?),
        queue: None,
        max_attempts: None,
        run_at: None,
    };
    let submitted = match client.submit_task(Some(&"example".parse()?), &body).await {
        Ok(task) => task.into_inner(),
        Err(api::Error::ErrorResponse(problem)) => return Err(describe(&problem).into()),
        Err(error) => return Err(error.into()),
    };
    let timeline = client.list_task_events(&submitted.task_id, None).await?.into_inner();
    println!("{:?}", timeline.events.iter().map(|event| event.progress).collect::<Vec<_>>());
    let mut events = client.stream_events(None).await?.into_inner().into_inner();
    println!("{:?}", events.try_next().await?);
    let finished = Some(Status::Finished);
    let page = client.list_tasks(None, None, None, None, None, finished).await?.into_inner();
    println!("{} {:?}", page.tasks.len(), page.next_cursor);
    Ok(client.get_task(&submitted.task_id, None).await?.into_inner())
}

/// Codes may be added.
fn describe(problem: &Problem) -> String {
    let code: &str = &problem.code;
    format!("{code}: {}", problem.detail.as_ref().unwrap_or(&problem.title))
}

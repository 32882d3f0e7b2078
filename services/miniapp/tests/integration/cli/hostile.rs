//! Text of a platform never controls the terminal: every field of every response contains it.

use std::fs;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::{Ran, program, run};

const FAULTS: &str = include_str!("terminal.json");
const ID: &str = "01930000-0000-7000-8000-000000abcdef";
const TIME: &str = "2030-01-01T00:00:00Z";

/// The commands that print text of a platform.
const COMMANDS: &[&[&str]] = &[
    &["task", "list"],
    &["task", "show", ID, "--events"],
    &["task", "submit", "--wait"],
    &["task", "watch", ID],
    &["task", "cancel", ID],
    &["task", "restart", ID, "00abcdef"],
    &["task", "cancel", "01930000"],
    &["task", "delete", "last"],
    &["why", ID],
    &["trace", ID],
    &["kinds"],
    &["workers"],
    &["stats"],
    &["whoami"],
    &["sessions", "list"],
    &["users", "list"],
    &["users", "roles", ID, "user"],
    &["users", "disable", ID],
    &["audit"],
    &["dead-letters", "list"],
    &["dead-letters", "requeue", ID],
];

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_text_that_controls_the_terminal() {
    let faults: Vec<Value> = serde_json::from_str(FAULTS).expect("JSON");
    let plain = printed("plain").await;
    for (command, ran) in &plain {
        let has_text = !command.starts_with("task delete");
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(printed.contains("plain"), has_text, "{command}: {ran:?}");
    }
    for fault in faults {
        let text = fault["text"].as_str().expect("a text");
        for (lines, expected) in printed(text).await.iter().zip(&plain) {
            let count = |ran: &Ran| (ran.stdout.lines().count(), ran.stderr.lines().count());
            let (command, printed) = lines;
            assert_eq!(count(printed), count(&expected.1), "{command}: {printed:?}");
            for output in [&printed.stdout, &printed.stderr] {
                let output = without_own_colors(output);
                assert!(!output.contains(is_hidden), "{command} {}: {output:?}", fault["why"]);
                if command.contains("--json") && !output.is_empty() {
                    for value in serde_json::Deserializer::from_str(&output).into_iter::<Value>() {
                        value.unwrap_or_else(|error| panic!("{command}: {error}: {output:?}"));
                    }
                }
            }
        }
    }
}

/// Runs every command at a platform whose responses contain `text`.
async fn printed(text: &str) -> Vec<(String, Ran)> {
    let app = Router::new().fallback(respond).with_state(text.to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let program = program();
    let commands = std::iter::once((vec!["login", "ada", "--password-stdin"], "x"));
    let formats = [vec!["--color", "always"], vec!["--json"]];
    let others = formats.iter().flat_map(|format| {
        COMMANDS.iter().map(move |command| ([*command, &format[..]].concat(), ""))
    });
    let mut printed = Vec::new();
    for (mut arguments, input) in commands.chain(others) {
        arguments.extend(["--url", &url, "--auth-url", &url]);
        if arguments[0] == "trace" {
            arguments.extend(["--admin-url", &url]);
        }
        let (program, line) = (program.clone(), arguments[..2].join(" "));
        let json = if arguments.contains(&"--json") { " --json" } else { "" };
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let ran = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&program, &arguments, input)
        });
        printed.push((line + json, ran.await.expect("no panic")));
    }
    server.abort();
    printed
}

/// A response with `text` in every field that is one.
async fn respond(State(text): State<String>, request: Request) -> Response {
    let path = request.uri().path();
    let problem = |status: u16, code: &str| {
        let errors = json!([{ "field": text, "message": text }]);
        let body = json!({
            "type": "about:blank", "title": text, "status": status, "detail": text, "code": code,
            "traceId": text, "errors": if code == "invalid_fields" { errors } else { json!([]) },
        });
        let status = StatusCode::from_u16(status).expect("a status");
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string())
            .into_response()
    };
    let task = json!({
        "taskId": ID, "kind": text, "description": text, "data": { text.clone(): text },
        "ttl": 30, "status": "Failed", "statusMessage": text, "progress": 0.5, "result": text,
        "error": { "code": text, "message": text }, "attempt": 3, "maxAttempts": 3,
        "generation": 2, "createdAt": TIME, "runAt": null, "executionStartedAt": TIME,
        "executionFinishedAt": TIME, "worker": text, "traceId": "0af7651916cd43dd8448eb211c80319c",
    });
    let event = |kind: &str| {
        json!({
            "id": ID, "taskId": ID, "at": TIME, "type": kind, "status": "Failed", "message": text,
            "progress": 0.5, "attempt": 1, "worker": text,
        })
    };
    let account = json!({
        "userId": ID, "login": text, "email": text, "roles": ["user"], "birthDate": null,
        "phoneNumber": text, "createdAt": TIME,
    });
    let body = match path {
        "/sign-in" => json!({
            "authToken": "a", "refreshToken": "r", "tokenType": "Bearer", "expiresIn": 900,
            "refreshExpiresIn": 900, "userName": text, "email": text,
        }),
        "/users/me" => account,
        "/users" => json!({ "users": [account], "nextCursor": null }),
        "/sessions" => json!({ "sessions": [{
            "id": ID, "client": text, "createdAt": TIME, "lastUsedAt": TIME, "expiresAt": TIME, "ip": text,
            "userAgent": text, "current": true,
        }] }),
        "/audit" => json!({ "entries": [{
            "at": TIME, "action": text, "outcome": text, "userId": ID, "login": text, "ip": text,
            "actorId": null, "actorLogin": text, "sessionId": ID, "rolesBefore": ["user"],
            "rolesAfter": ["admin"],
        }], "nextCursor": null }),
        "/api/kinds" => json!({ "kinds": [{
            "name": text, "description": text, "dataSchema": {}, "example": text,
        }] }),
        "/api/workers" => json!({ "workers": [{
            "name": text, "version": text, "kinds": [text], "running": 0, "capacity": 1,
            "startedAt": TIME, "lastSeenAt": TIME,
        }] }),
        "/api/tasks" if request.method() == "POST" => task,
        "/api/tasks" => {
            let mut other = task.clone();
            other["taskId"] = json!(ID.replace("abcdef", "fedcba"));
            json!({ "tasks": [task, other], "nextCursor": null })
        }
        "/api/dead-letters" => json!({ "tasks": [task], "nextCursor": null }),
        path if path.starts_with("/traces/") => trace(&text),
        path if path.ends_with("/events") => {
            let events = ["retrying", "failed"].map(event);
            let accept = request.headers().get(header::ACCEPT);
            if accept.is_some_and(|accept| accept == "text/event-stream") {
                let stream = events.map(|event| format!("id: {ID}\ndata: {event}\n\n")).concat();
                return ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response();
            }
            json!({ "events": events })
        }
        path if path.ends_with("/cancel") => return problem(409, "task_already_finished"),
        path if ["/requeue", "/roles", "/disabled"].iter().any(|end| path.ends_with(end)) => {
            return problem(422, "invalid_fields");
        }
        path if path.starts_with("/api/tasks/") && request.method() == "DELETE" => {
            return StatusCode::NO_CONTENT.into_response();
        }
        path if path.starts_with("/api/tasks/") => task,
        _ => return problem(404, "not_found"),
    };
    axum::Json(body).into_response()
}

fn trace(text: &str) -> Value {
    let span = json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "0000000000000001",
        "name": text, "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
    });
    let service = json!({ "key": "service.name", "value": { "stringValue": text } });
    let resource = |service: Value| json!({ "resource": { "attributes": [service] }, "scopeSpans": [{ "spans": [span] }] });
    let other = json!({ "key": "service.name", "value": { "stringValue": "other" } });
    json!({ "resourceSpans": [resource(service), resource(other)] })
}

/// Whether a terminal executes a character or doesn't show it.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

fn without_own_colors(output: &str) -> String {
    let own = ["0", "1", "2", "31", "32", "33", "36"];
    own.iter().fold(output.to_owned(), |text, code| text.replace(&format!("\u{1b}[{code}m"), ""))
}

/// A new command that wrote to the terminal by itself would not be covered by the test above.
#[test]
fn only_the_interface_writes_to_the_terminal() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 50, "{files:?}");
    let writes = ["print!(", "println!(", "stdout().write", "write!(io::std", "writeln!(io::std"];
    for file in files.iter().filter(|file| !file.starts_with(source.join("ui"))) {
        let code = fs::read_to_string(file).expect("text");
        for write in writes {
            assert!(!code.contains(write), "{} has {write}; use Ui", file.display());
        }
        let uses = |name: &str| code.matches(name).count();
        assert_eq!(
            uses("io::stdout()") + uses("io::stderr()"),
            uses("io::stdout().is_terminal()") + uses("io::stderr().is_terminal()"),
            "{} takes a stream; use Ui",
            file.display()
        );
    }
}

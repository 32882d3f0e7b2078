//! The number of metric series does not depend on clients.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use miniapp_test_support::http::{Answer, client, method};
use miniapp_test_support::platform::{Engines, Platform, Program, User, task};
use miniapp_types::task::Status;
use serde_json::json;
use uuid::Uuid;

miniapp_test_support::on_all_engines!(load_adds_counts_and_no_series);

/// Above the current number of series, and far below the number of tasks, users or paths in the
/// load.
const MOST: usize = 2500;

async fn load_adds_counts_and_no_series(engines: Engines) {
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp")).on(engines).await;
    let platform = program.set("limits.sign_in_failures", 3).start().await;
    let mut seen = BTreeSet::new();
    let mut before = 0;
    for round in 0..3 {
        use_it(&platform, round).await;
        let metrics = Answer::to(platform.admin_request("/metrics")).await.expect(200);
        seen = String::from_utf8_lossy(&metrics.body).lines().filter_map(series).collect();
        if round > 0 {
            let added = seen.len() - before;
            assert!(added < 20, "{added} series came with more of the same: {seen:#?}");
        }
        before = seen.len();
    }
    assert!(seen.len() < MOST, "{} series", seen.len());
    println!("{} series on {engines:?}", seen.len());
    for (name, value) in seen.iter().flat_map(|series| labels(series)) {
        let is_known_number = match name {
            "le" => value.parse::<f64>().is_ok() || value == "+Inf",
            "http_response_status_code" => value.len() == 3,
            "version" => true,
            _ => false,
        };
        let looks_made_up = value.parse::<f64>().is_ok()
            || value.contains('@')
            || value.len() > 60
            || value.split(|c: char| !c.is_ascii_hexdigit()).any(|part| part.len() >= 8)
            || value.contains("unknown_login");
        assert!(is_known_number || !looks_made_up, "{name}={value}");
    }
}

/// A series without its value, or none for a comment.
fn series(line: &str) -> Option<String> {
    let (series, _) = line.rsplit_once(' ')?;
    (!line.starts_with('#')).then(|| series.to_owned())
}

fn labels(series: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    inner.split("\",").filter_map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name, value.trim_end_matches('"')))
    })
}

/// Users, tasks of every kind and outcome, and invalid requests.
async fn use_it(platform: &Platform, round: u32) {
    let users: Vec<User> = join_all((0..4).map(|n| {
        let login = format!("user-{round}-{n}");
        async move { platform.sign_up(&login).await }
    }))
    .await;
    let mut ends = Vec::new();
    for user in &users {
        for n in 0..5 {
            let fails = json!({ "failures": n % 2 });
            let tasks = [
                ("echo", json!(n), Status::Finished),
                ("flaky", fails, Status::Finished),
                ("hash", json!({ "rounds": 10 + n }), Status::Finished),
            ];
            for (kind, data, status) in tasks {
                let task = user.submit(kind, &data).await.task_id;
                ends.push(user.until(task, status));
            }
        }
        let unknown = task(&format!("kind-{}", Uuid::new_v4()), &json!({}));
        assert_eq!(user.try_submit(&unknown).await.expect("an answer").status, 422);
        let canceled = user.submit("sleep", &json!({ "seconds": 50 })).await.task_id;
        let path = format!("/api/tasks/{canceled}");
        Answer::to(user.api("POST", &format!("{path}/cancel"))).await.expect(202);
        ends.push(user.until(canceled, Status::Canceled));
        for path in [&path, "/api/tasks", "/api/kinds", "/api/stats", "/api/workers"] {
            Answer::to(user.api("GET", path)).await.expect(200);
        }
    }
    join_all(ends).await;
    for n in 0..20 {
        let id = Uuid::new_v4();
        for url in [platform.api(), platform.auth(), platform.admin()] {
            let odd = format!("{url}/{id}/of/unknown_login-{n}@example.com?n={n}");
            Answer::to(client().request(method(&format!("ODD{n}")), odd)).await.expect(404);
        }
        let unauthenticated =
            platform.api_request("GET", &format!("/api/tasks/{id}")).bearer_auth(id);
        Answer::to(unauthenticated).await.expect(401);
        let unknown_login = json!({ "login": format!("unknown_login{n}"), "password": id });
        let refused = platform.post_auth("/sign-in", &unknown_login).await;
        assert!([401, 429].contains(&refused.status.as_u16()), "{}", refused.status);
    }
}

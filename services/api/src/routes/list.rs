//! `GET /api/tasks`: lists tasks.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::{Problem, Query};
use miniapp_tasks::Filter;
use miniapp_types::account::Scope;
use miniapp_types::fields::{Fields, FromFields};
use miniapp_types::limits;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;
use miniapp_types::task::{Status, TaskPage};
use uuid::Uuid;

use super::page::{self, Owners};
use crate::state::Api;
use crate::token::AuthUser;

/// Selects the tasks of all accounts.
const ALL: &str = "*";

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

#[derive(Debug)]
pub(super) struct ListQuery {
    id: Option<String>,
    status: Option<Status>,
    kind: Option<String>,
    owner: Option<Owner>,
    page: Page,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Any,
    Account(Uuid),
}

impl FromFields for ListQuery {
    fn read(fields: &mut Fields) -> Option<Self> {
        let id = fields.optional(|fields| fields.text("id", limits::FILTER), "id");
        let kind = fields.optional(|fields| fields.text("kind", limits::FILTER), "kind");
        let status = fields.optional(|fields| fields.text("status", limits::FILTER), "status");
        let status = status.and_then(|status| {
            let read = status.parse().ok();
            if read.is_none() {
                let message = "must be Awaiting, Executing, Finished, Canceled or Failed";
                fields.reject("status", message);
            }
            read
        });
        let owner = fields.optional(|fields| fields.text("owner", limits::FILTER), "owner");
        let owner = owner.and_then(|owner| match owner.parse() {
            Ok(id) => Some(Owner::Account(id)),
            Err(_) if owner == ALL => Some(Owner::Any),
            Err(_) => {
                fields.reject("owner", "must be * or the id of an account");
                None
            }
        });
        Some(Self { id, status, kind, owner, page: Page::read(fields)? })
    }
}

/// List tasks
///
/// Returns the caller's tasks, newest first, in pages. With `owner`, which requires the role
/// `admin`, and of a key the scope `admin:read`, tasks of others, too; then each task names its
/// `owner`.
#[utoipa::path(
    get,
    path = "/api/tasks",
    operation_id = "list_tasks",
    tag = "tasks",
    params(
        ("id" = Option<String>, Query, min_length = 1, max_length = 500,
            description = "Only the task with this id"),
        ("status" = Option<Status>, Query, description = "Only tasks in this status"),
        ("kind" = Option<String>, Query, min_length = 1, max_length = 500,
            description = "Only tasks of this kind"),
        ("owner" = Option<String>, Query, min_length = 1, max_length = 500,
            description = "Tasks of the account with this id, or `*` for all; for admins"),
        Page,
    ),
    responses((status = 200, description = "A page of tasks", body = TaskPage))
)]
pub(super) async fn list(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let ListQuery { id, status, kind, owner, page } = query;
    let (owner, owners) = match owner {
        None => (Some(principal.user_id), Owners::Hidden),
        Some(owner) => {
            principal.require(Scope::AdminRead)?;
            let account = if let Owner::Account(id) = owner { Some(id) } else { None };
            (account, Owners::Shown)
        }
    };
    let Ok(id) = id.map(|id| id.parse::<Uuid>()).transpose() else {
        // An invalid id matches no task.
        return page::empty();
    };
    let filter = Filter { owner, id, status, kind, ..Filter::default() };
    page::respond(filter, page, owners, &api).await
}

#[cfg(test)]
mod tests {
    use miniapp_types::fields::read_query;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::ListQuery;
    use crate::testing::{Platform, Token};

    fn any_name() -> impl Strategy<Value = String> {
        const KNOWN: [&str; 6] = ["id", "status", "kind", "owner", "limit", "cursor"];
        prop_oneof![
            3 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned),
            1 => any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_queries_are_parsed_without_panic(
            pairs in vec((any_name(), prop_oneof![any::<String>(), "[0-9]{1,12}"]), 0..6),
        ) {
            if let Ok(query) = read_query::<ListQuery>(pairs) {
                prop_assert!((1..=200).contains(&query.page.limit));
            }
        }
    }

    async fn listed(platform: &Platform, token: &Token, query: &str) -> (Vec<String>, Value) {
        let path = format!("/api/tasks{query}");
        let answer = platform.get(&path).token(token).send().await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let page = answer.json();
        let tasks = page["tasks"].as_array().expect("tasks").iter();
        let ids = tasks.map(|task| task["taskId"].as_str().expect("an id").to_owned()).collect();
        (ids, page["nextCursor"].clone())
    }

    #[tokio::test]
    async fn list_is_paginated() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        platform.submit(&platform.auth.sign_in()).await;
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(platform.submit(&token).await.to_string());
        }
        submitted.reverse();
        let (ids, next) = listed(&platform, &token, "").await;
        assert_eq!((ids, next), (submitted.clone(), Value::Null));
        let mut seen = Vec::new();
        let mut query = "?limit=2".to_owned();
        loop {
            let (ids, next) = listed(&platform, &token, &query).await;
            seen.extend(ids);
            let Some(cursor) = next.as_str() else { break };
            query = format!("?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, submitted);
        let (ids, next) = listed(&platform, &token, "?limit=5").await;
        assert_eq!((ids.len(), next), (5, Value::Null));
    }

    #[tokio::test]
    async fn page_of_large_tasks_is_cut_short() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let data = "x".repeat(200 * 1024);
        let mut submitted = Vec::new();
        for _ in 0..12 {
            let body = serde_json::json!({"description": "d", "data": data, "ttl": 5});
            let answer = platform.post("/api/tasks").token(&token).json(&body).send().await;
            assert_eq!(answer.status(), 201);
            submitted.insert(0, answer.json()["taskId"].as_str().expect("an id").to_owned());
        }
        let mut lengths = Vec::new();
        let mut seen = Vec::new();
        let mut query = "?limit=100".to_owned();
        loop {
            let (ids, next) = listed(&platform, &token, &query).await;
            lengths.push(ids.len());
            seen.extend(ids);
            let Some(cursor) = next.as_str() else { break };
            query = format!("?limit=100&cursor={cursor}");
        }
        assert_eq!(lengths, [5, 5, 2]);
        assert_eq!(seen, submitted);
    }

    #[tokio::test]
    async fn filters_select_tasks() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let (one, two) = (platform.submit(&token).await, platform.submit(&token).await);
        platform.finish(&token, one).await;
        let (one, two) = (one.to_string(), two.to_string());
        let theirs = platform.submit(&platform.auth.sign_in()).await;
        let cases = [
            (format!("?id={one}"), vec![&one]),
            (format!("?id={theirs}"), vec![]),
            ("?id=no-uuid".to_owned(), vec![]),
            ("?status=Finished".to_owned(), vec![&one]),
            ("?status=finished".to_owned(), vec![&one]),
            ("?status=Awaiting&kind=echo".to_owned(), vec![&two]),
            ("?status=Failed".to_owned(), vec![]),
            ("?kind=unheard-of".to_owned(), vec![]),
            ("?kind=echo&limit=200".to_owned(), vec![&two, &one]),
        ];
        for (query, expected) in cases {
            let (ids, _) = listed(&platform, &token, &query).await;
            assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{query}");
        }
    }

    #[tokio::test]
    async fn admins_list_tasks_of_others_with_their_owner() {
        let platform = Platform::start().await;
        let (user, admin) = (platform.auth.sign_in(), platform.auth.sign_in_as_admin());
        let (theirs, own) = (platform.submit(&user).await, platform.submit(&admin).await);
        let owner_of = async |query: &str| {
            let path = format!("/api/tasks{query}");
            let page = platform.get(&path).token(&admin).send().await.json();
            let tasks = page["tasks"].as_array().expect("tasks").clone();
            let owners =
                tasks.into_iter().map(|task| (task["taskId"].clone(), task.get("owner").cloned()));
            owners.collect::<Vec<_>>()
        };
        let (theirs, own) = (json!(theirs), json!(own));
        let (user_id, admin_id) = (json!(user.user), json!(admin.user));
        let listed = owner_of(&format!("?owner=*&id={}", theirs.as_str().expect("text"))).await;
        assert_eq!(listed, [(theirs.clone(), Some(user_id.clone()))]);
        let listed = owner_of("?owner=*").await;
        assert_eq!(
            listed,
            [(own.clone(), Some(admin_id)), (theirs.clone(), Some(user_id.clone()))]
        );
        let listed = owner_of(&format!("?owner={}", user.user)).await;
        assert_eq!(listed, [(theirs.clone(), Some(user_id))]);
        assert_eq!(owner_of("").await, [(own.clone(), None)]);
        for query in ["?owner=*", &format!("?owner={}", user.user)] {
            let answer = platform.get(&format!("/api/tasks{query}")).token(&user).send().await;
            assert_eq!(answer.problem(), (403, "forbidden".to_owned()), "{query}");
        }
        // The task itself stays hidden.
        let path = format!("/api/tasks/{}", theirs.as_str().expect("text"));
        let answer = platform.get(&path).token(&admin).send().await;
        assert_eq!(answer.problem(), (404, "task_not_found".to_owned()));
    }

    #[tokio::test]
    async fn invalid_query_reports_every_field() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let cases = [
            ("limit=0", vec!["limit"]),
            ("limit=201", vec!["limit"]),
            ("limit=x", vec!["limit"]),
            ("cursor=x", vec!["cursor"]),
            ("status=done", vec!["status"]),
            ("owner=ada&limit=0", vec!["owner", "limit"]),
            ("x=1&limit=1&limit=2&status=", vec!["limit", "status", "x"]),
        ];
        for (query, fields) in cases {
            let path = format!("/api/tasks?{query}");
            assert_eq!(platform.get(&path).token(&token).send().await.fields(), fields, "{query}");
        }
    }
}

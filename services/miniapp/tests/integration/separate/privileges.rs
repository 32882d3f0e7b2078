//! The services with the roles and users of a deployment, which are created from its files.

use std::path::Path;
use std::process::Command;

use miniapp_broker::{Message, Queue};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::{Durability, Server as Postgres};
use miniapp_test_support::rabbit::{Options, Server as Rabbit};
use miniapp_types::message::AccountDeleted;
use miniapp_types::task::Status;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::separate::support::readiness;

const DATABASE: &str = "miniapp";
const PASSWORD: &str = "for-development-only";
const ROLES: &str = "kustomize/components/postgres-roles/roles.sql";
const PASSWORDS: &str = "kustomize/overlays/dev/passwords.sql";
const USERS: &str = "kustomize/overlays/dev/users.json";
const DEFINITIONS: &str = "kustomize/components/rabbitmq/definitions.json";

fn path(file: &str) -> String {
    format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).expect("a file of the repository")
}

/// A server with the roles, and an empty database. Roles belong to the whole server.
async fn postgres() -> Postgres {
    let server = Postgres::start(Durability::Crash, &["max_connections=200"]).await;
    let server = server.expect("a PostgreSQL server");
    server.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await.expect("a database");
    create_roles(&server).await;
    server
}

async fn create_roles(server: &Postgres) {
    for file in [ROLES, PASSWORDS] {
        server.execute(DATABASE, &read(file)).await.expect(file);
    }
}

fn database_url(server: &Postgres, role: &str) -> String {
    format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", server.port())
}

async fn log_in(server: &Postgres, role: &str) -> PgConnection {
    PgConnection::connect(&database_url(server, role)).await.expect("a connection")
}

async fn rabbit() -> Rabbit {
    let server = Rabbit::start(Options::default()).await.expect("a RabbitMQ server");
    for file in [USERS, DEFINITIONS] {
        server.ctl(&["import_definitions", &path(file)]).await.expect(file);
    }
    server
}

fn broker_url(server: &Rabbit, user: &str) -> EngineUrl {
    EngineUrl::new(format!("amqp://{user}:{PASSWORD}@localhost:{}/", server.port()))
}

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_miniapp"))
}

/// Applies the migrations as `role`.
async fn migrate(postgres: &Postgres, role: &str) {
    let program = program().set("database.url", database_url(postgres, role));
    let migrated = program.run(&["migrate"]).await;
    assert!(migrated.status.success(), "{}", migrated.stderr);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn services_work_with_their_own_roles_and_users() {
    let (postgres, rabbit) = tokio::join!(postgres(), rabbit());
    // Its commands read the mails of the accounts.
    let program = program()
        .set("database.url", database_url(&postgres, "auth"))
        .set("broker.url", broker_url(&rabbit, "auth").expose());
    let mut platform = Separate::launch_each(&program, 1, 2, |program, service, _| {
        let role = if service == "auth" { "auth" } else { "tasks" };
        program
            .set("database.url", database_url(&postgres, role))
            .set("broker.url", broker_url(&rabbit, service).expose())
    });
    // They may not create the tables, and say so.
    for service in platform.services() {
        service.until_logged("this role may not change tables").await;
        eventually("it is not ready", async || {
            (readiness(service).await.status == 503).then_some(())
        })
        .await;
    }
    migrate(&postgres, "migrate").await;
    for service in platform.services() {
        service.until_ready().await;
    }

    let [ada, bob] = [platform.sign_up("ada").await, platform.sign_up("bob").await];
    for user in [&ada, &bob] {
        let task = user.submit("echo", &json!("with its own role")).await;
        user.until(task.task_id, Status::Finished).await;
    }
    let canceled = ada.submit("sleep", &json!({ "seconds": 300 })).await;
    ada.until(canceled.task_id, Status::Executing).await;
    Answer::to(ada.api("POST", &format!("/api/tasks/{}/cancel", canceled.task_id)))
        .await
        .expect(202);
    ada.until(canceled.task_id, Status::Canceled).await;

    // Nobody but auth can have accounts deleted, not even an administrator of the broker.
    let administrator = miniapp_broker::open(&broker_url(&rabbit, "miniapp")).expect("a broker");
    let forged = AccountDeleted::V1 { user_id: ada.id, signature: None };
    let forged = Message::new(Uuid::new_v4(), &forged);
    for published in administrator.publish(Queue::AccountDeletions, vec![forged]).await {
        published.expect("published");
    }
    platform.apis[0].until_logged("refused an account deletion and parked it").await;
    let metrics = platform.apis[0].admin_request("/metrics").send().await.expect("metrics");
    let metrics = metrics.text().await.expect("text");
    let unsigned = r#"miniapp_auth_events_total{event="account_deleted",outcome="unsigned"} 1"#;
    assert!(metrics.contains(unsigned), "{metrics}");
    assert_eq!(ada.tasks().await.len(), 2);

    Answer::to(ada.auth("DELETE", "/users/me")).await.expect(204);
    let mut observer = postgres.connect(DATABASE).await.expect("a connection");
    let mut left = async |user: Uuid| -> i64 {
        let count = sqlx::query("SELECT count(*) FROM tasks WHERE owner = $1 AND NOT deleted");
        let row = observer.fetch_one(count.bind(user)).await.expect("a count");
        row.try_get(0).expect("a number")
    };
    eventually("the tasks are deleted", async || (left(ada.id).await == 0).then_some(())).await;
    assert_eq!(left(bob.id).await, 1);
    for service in platform.services() {
        let log = service.log();
        for wrong in ["permission denied", "ACCESS_REFUSED", "panicked"] {
            assert!(!log.contains(wrong), "{wrong}: {log}");
        }
    }
}

/// Runs a statement as `role` and checks that the server denies it.
async fn deny(server: &Postgres, role: &str, statement: &str) {
    let denied = log_in(server, role).await.execute(AssertSqlSafe(statement.to_owned())).await;
    let error = denied.err().unwrap_or_else(|| panic!("{role} may: {statement}"));
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {error}");
}

/// The tables with the rights of both roles. A call with several rights checks for any of them.
const RIGHTS: &str = "
    WITH rights (name) AS (
        VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'),
            ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')
    )
    SELECT relname::text, pg_get_userbyid(relowner)::text,
        ARRAY(SELECT name FROM rights WHERE has_table_privilege('auth', pg_class.oid, name)),
        ARRAY(SELECT name FROM rights WHERE has_table_privilege('tasks', pg_class.oid, name))
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn roles_cannot_use_the_tables_of_others() {
    let postgres = postgres().await;
    migrate(&postgres, "migrate").await;
    let mut observer = postgres.connect(DATABASE).await.expect("a connection");
    let tables = observer.fetch_all(RIGHTS).await.expect("tables");
    assert!(tables.len() > 15);
    for table in tables {
        let name: &str = table.try_get(0).expect("a name");
        let owner: &str = table.try_get(1).expect("an owner");
        let [auth, tasks] =
            [2, 3].map(|column| table.try_get::<Vec<String>, _>(column).expect("rights"));
        assert_eq!(owner, "migrate", "{name}");
        let expected = match name {
            "audit" => &["SELECT", "INSERT", "DELETE"][..],
            _ if name.ends_with("_migrations") => &["SELECT"],
            _ => &["SELECT", "INSERT", "UPDATE", "DELETE"],
        };
        let has_owner =
            (auth == expected && tasks.is_empty()) || (tasks == expected && auth.is_empty());
        assert!(has_owner, "{name}: auth {auth:?}, tasks {tasks:?}");
    }
    for statement in [
        "SELECT * FROM tasks",
        "SELECT * FROM task_timeline_pages",
        "DELETE FROM tasks",
        "UPDATE workers SET report = ''",
        "UPDATE audit SET outcome = 'ok'",
    ] {
        deny(&postgres, "auth", statement).await;
    }
    for statement in [
        "SELECT password FROM accounts",
        "SELECT sealed FROM signing_keys",
        "SELECT * FROM sessions",
        "SELECT * FROM codes",
        "SELECT * FROM duties",
        "SELECT * FROM audit",
        "UPDATE accounts SET roles = 'admin'",
        "DELETE FROM audit",
        "INSERT INTO spent_tokens VALUES ('', gen_random_uuid(), 0)",
    ] {
        deny(&postgres, "tasks", statement).await;
    }
    for role in ["auth", "tasks"] {
        for statement in [
            "CREATE TABLE own (id int)",
            "CREATE TEMPORARY TABLE own (id int)",
            "CREATE SCHEMA own",
            "ALTER TABLE tasks ADD COLUMN own int",
            "ALTER TABLE accounts ADD COLUMN own int",
            "DROP TABLE audit",
            "TRUNCATE workers",
            "INSERT INTO accounts_migrations VALUES (99, '', now(), true, '', 0)",
            "SET ROLE migrate",
        ] {
            deny(&postgres, role, statement).await;
        }
    }
}

/// As `docs/operations/backup.md` describes.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn owner_restores_a_dump_with_all_rights() {
    let postgres = postgres().await;
    migrate(&postgres, "migrate").await;
    let page = read("docs/operations/backup.md");
    let dump = postgres.directory().join("dump");
    let tools = postgres.program("psql", DATABASE);
    let tools = Path::new(tools.get_program()).parent().expect("a folder").to_owned();
    let run = |name: &str| {
        let mut commands = page.lines().filter(|line| line.starts_with(&format!("{name} ")));
        let command = commands.next().unwrap_or_else(|| panic!("the page lacks {name}"));
        let command = command.replace("/backups/miniapp-1.dump", &dump.display().to_string());
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-euc", &command])
            .env("PATH", format!("{}:{path}", tools.display()))
            .env("DATABASE_URL", database_url(&postgres, "migrate"))
            .output()
            .expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
    };
    run("pg_dump");
    run("psql");
    let grant = "GRANT USAGE ON SCHEMA public TO auth, tasks";
    assert!(page.contains(grant), "{page}");
    log_in(&postgres, "migrate").await.execute(grant).await.expect(grant);
    run("pg_restore");
    migrate(&postgres, "migrate").await;
    for (role, command) in [("tasks", "check"), ("auth", "mail"), ("migrate", "check")] {
        let program = program().set("database.url", database_url(&postgres, role));
        let checked = program.run(&[command]).await;
        assert!(checked.status.success(), "{role}: {}", checked.stderr);
    }
    deny(&postgres, "auth", "SELECT * FROM tasks").await;
    deny(&postgres, "tasks", "SELECT * FROM deleted_accounts").await;
}

/// One role owned the tables. Its processes continue while the others take over.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn tables_of_an_earlier_release_are_taken_over() {
    let server = Postgres::start(Durability::Crash, &[]).await.expect("a PostgreSQL server");
    let owner = format!("CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'");
    for statement in [owner.as_str(), "CREATE DATABASE miniapp OWNER owner"] {
        server.execute("postgres", statement).await.expect(statement);
    }
    migrate(&server, "owner").await;
    create_roles(&server).await;
    // Repeating it changes nothing.
    create_roles(&server).await;
    let as_role = |role: &str| program().set("database.url", database_url(&server, role));
    // No rights have been granted yet.
    let checked = as_role("tasks").run(&["check"]).await;
    assert!(!checked.status.success(), "{}", checked.stdout);
    assert!(checked.stderr.contains("may not change tables"), "{}", checked.stderr);
    for role in ["owner", "migrate", "owner"] {
        migrate(&server, role).await;
    }
    for role in ["owner", "tasks"] {
        let checked = as_role(role).run(&["check"]).await;
        assert!(checked.status.success(), "{role}: {}", checked.stderr);
    }
    for role in ["owner", "auth"] {
        let mails = as_role(role).run(&["mail"]).await;
        assert!(mails.status.success(), "{role}: {}", mails.stderr);
    }
    deny(&server, "auth", "SELECT * FROM tasks").await;
    deny(&server, "tasks", "SELECT * FROM accounts").await;
    // The last step of the upgrade.
    server.execute(DATABASE, "REVOKE migrate FROM owner; DROP ROLE owner").await.expect("removed");
    migrate(&server, "migrate").await;
}

//! PostgreSQL on its own: rows of tasks, inserted once and updated twice.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use miniapp_config::{Database, EngineUrl, Synchronous};
use miniapp_tasks::Engine as _;
use miniapp_tasks::postgres::PostgresEngine;
use miniapp_test_support::postgres::Server;

use super::Rate;
use crate::processes::cpu_seconds_with_children;
use crate::servers::platform::name_of;

/// Duration of each run.
const SECONDS: u32 = 8;

/// The lifecycle of `batch` tasks: submitted, claimed and finished. Ids are derived from the
/// client's number and a count, so that the database does not have to return them.
pub const LIFECYCLE: [&str; 3] = [
    "INSERT INTO tasks (id, owner, kind, description, data, ttl, max_attempts, created_at, \
     changed_at, ready_at, due_at, timeline) \
     SELECT task_id(:client_id, n), '01890a5d-ac96-774b-bcce-b302099a8057', 'echo', 'bench', \
     '{\"number\":1}', 60, 3, 1750000000000000, 1750000000000000, 1750000000000000, \
     1750000000000000, '[\"01890a5d-ac96-774b-bcce-b302099a8057\",1750000000000000,\"created\",\
     \"Awaiting\",null,0.0,0,null]' || chr(10) FROM generate_series(:n::int + 1, :n::int + :batch::int) AS n",
    "UPDATE tasks SET status = 1, attempt = 1, version = 2, claim = 1, \
     worker = 'worker-on-a-host-12345-1', changed_at = 1750000000000000, ready_at = NULL, \
     due_at = NULL, started_at = 1750000000000000, lease_until = 1750000015000000, \
     timeline = timeline || '[\"01890a5d-ac96-774b-bcce-b302099a8057\",1750000000000000,\
     \"started\",\"Executing\",null,0.0,1,\"worker-on-a-host-12345-1\"]' || chr(10) \
     WHERE id = ANY (ARRAY(SELECT task_id(:client_id, n) \
     FROM generate_series(:n::int + 1, :n::int + :batch::int) AS n))",
    "UPDATE tasks SET status = 2, version = 3, progress = 1.0, result = '{\"number\":1}', \
     worker = NULL, changed_at = 1750000000000000, finished_at = 1750000000000000, \
     lease_until = NULL, \
     timeline = timeline || '[\"01890a5d-ac96-774b-bcce-b302099a8057\",1750000000000000,\
     \"finished\",\"Finished\",null,1.0,1,\"worker-on-a-host-12345-1\"]' || chr(10) \
     WHERE id = ANY (ARRAY(SELECT task_id(:client_id, n) \
     FROM generate_series(:n::int + 1, :n::int + :batch::int) AS n))",
];

/// Derives an id from client and count. Ids sort by creation, as the platform's do.
const TASK_ID: &str = "CREATE FUNCTION task_id(client int, n int) RETURNS uuid IMMUTABLE LANGUAGE sql \
    AS $$ SELECT ('01890a5d' || lpad(to_hex(n), 8, '0') || lpad(to_hex(client), 16, '0'))::uuid $$";

/// A database with the platform's tables.
pub struct TaskRows<'s> {
    server: &'s Server,
    url: EngineUrl,
}

impl<'s> TaskRows<'s> {
    /// Creates the database and its tables.
    pub async fn prepare(server: &'s Server) -> anyhow::Result<Self> {
        let url = server.database().await?;
        let settings = Database {
            url: url.clone(),
            pooler: None,
            synchronous: Synchronous::Full,
            connections: 1,
        };
        // The engine migrates on first use.
        PostgresEngine::new(&settings)?.ping().await?;
        server.execute(name_of(&url), TASK_ID).await?;
        Ok(Self { server, url })
    }

    /// Runs lifecycles by `clients` clients, `batch` in a transaction.
    pub async fn run(&self, clients: u16, batch: u32) -> anyhow::Result<Rate> {
        let mut script = tempfile::NamedTempFile::new()?;
        writeln!(script, "{};\n\\set n :n + :batch", LIFECYCLE.join(";\n"))?;
        let mut pgbench = self.server.program("pgbench", name_of(&self.url));
        pgbench
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={clients}"))
            .arg(format!("--time={SECONDS}"))
            .arg(format!("--define=batch={batch}"))
            // Each run uses its own range of ids.
            .arg(format!("--define=n={}", batch * 10_000_000))
            .arg(format!("--file={}", script.path().display()))
            // Plans are cached while the table is empty.
            .env("PGOPTIONS", "-c enable_seqscan=off")
            .stdin(Stdio::null());
        let before = cpu_seconds_with_children(self.server.pid()?)?;
        let output = tokio::task::spawn_blocking(move || pgbench.output());
        let output = output.await?.context("cannot run pgbench")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench failed: {stderr}");
        let rate = stdout.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate =
            rate.and_then(|rate| rate.split(' ').next()).context("pgbench reports no rate")?;
        let per_second = rate.parse::<f64>()? * f64::from(batch);
        let cpu_seconds = cpu_seconds_with_children(self.server.pid()?)? - before;
        Ok(Rate { per_second, cpu_seconds: cpu_seconds / per_second / f64::from(SECONDS) })
    }

    pub fn url(&self) -> &EngineUrl {
        &self.url
    }

    /// Drops the database.
    pub async fn clear(self) -> anyhow::Result<()> {
        self.server.execute("postgres", &format!("DROP DATABASE {}", name_of(&self.url))).await
    }
}

//! What a task costs the servers, according to their own counters.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, FromRow};

use super::platform::Platform;
use crate::figures::{Figure, Figures, Unit};
use crate::phases::Throughput;

/// PostgreSQL's sessions report their statistics with a delay of up to 10 s.
const TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Counters of the servers, or their increase.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    database: Rows,
    wal_bytes: i64,
    /// Published and delivered.
    messages: [i64; 2],
}

#[derive(Clone, Copy, Debug, FromRow)]
struct Rows {
    inserted: i64,
    updated: i64,
    commits: i64,
}

/// Counters at the start of a measurement.
pub struct Counters(Counts);

impl Counters {
    pub async fn read(platform: &Platform<'_>) -> anyhow::Result<Self> {
        Ok(Self(Counts {
            database: rows(platform).await?,
            wal_bytes: wal_bytes(platform).await?,
            messages: messages(platform).await?,
        }))
    }

    /// Returns the increase since then. Waits until it includes an insert and two updates
    /// for each task of `many`.
    pub async fn since(self, platform: &Platform<'_>, many: &Throughput) -> anyhow::Result<Counts> {
        let Self(before) = self;
        let wal_bytes = wal_bytes(platform).await? - before.wal_bytes;
        let messages = messages(platform).await?;
        let messages = [0, 1].map(|which| messages[which] - before.messages[which]);
        let tasks = i64::try_from(many.ids().len())?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let now = rows(platform).await?;
            let database = Rows {
                inserted: now.inserted - before.database.inserted,
                updated: now.updated - before.database.updated,
                commits: now.commits - before.database.commits,
            };
            let is_complete = database.inserted >= tasks && database.updated >= 2 * tasks;
            if is_complete || Instant::now() > deadline {
                return Ok(Counts { database, wal_bytes, messages });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Counts {
    /// Adds the counts per task of `many`.
    pub fn add_to(&self, figures: &mut Figures, many: &Throughput) {
        let [published, delivered] = self.messages;
        for (key, name, total, unit) in [
            ("rows.inserted", "Rows inserted a task", self.database.inserted, Unit::Count),
            ("rows.updated", "Rows updated a task", self.database.updated, Unit::Count),
            ("commits", "Commits a task", self.database.commits, Unit::Count),
            ("log.bytes", "PostgreSQL's log a task", self.wal_bytes, Unit::Bytes),
            ("messages.published", "Messages published a task", published, Unit::Count),
            ("messages.delivered", "Messages delivered a task", delivered, Unit::Count),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let per_task = many.per_task(total as f64);
            figures.add(Figure::new(key, name, per_task, unit));
        }
    }
}

async fn rows(platform: &Platform<'_>) -> anyhow::Result<Rows> {
    let mut connection = platform.connect().await?;
    let rows = sqlx::query_as(
        "SELECT sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated, \
         (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits \
         FROM pg_stat_user_tables",
    );
    let rows = rows.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}

/// Returns the size of the write-ahead log since the server was initialized.
async fn wal_bytes(platform: &Platform<'_>) -> anyhow::Result<i64> {
    let mut connection = platform.connect().await?;
    let bytes = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint");
    let bytes = bytes.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(bytes)
}

/// Returns how many messages RabbitMQ has received and delivered.
async fn messages(platform: &Platform<'_>) -> anyhow::Result<[i64; 2]> {
    const COUNT: &str = "Sum = fun(Names) -> lists:sum([maps:get(Name, Counters, 0) || \
         Counters <- maps:values(rabbit_global_counters:overview()), Name <- Names]) end, \
         {Sum([messages_received_total]), Sum([messages_delivered_total])}.";
    let output = platform.servers.rabbit.ctl(&["eval", COUNT]).await?;
    let numbers = output.split(|letter: char| !letter.is_ascii_digit());
    let numbers: Result<Vec<i64>, _> =
        numbers.filter(|it| !it.is_empty()).map(str::parse).collect();
    let counts = numbers?.try_into().ok();
    counts.with_context(|| format!("unexpected counters of RabbitMQ: {output}"))
}

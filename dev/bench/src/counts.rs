//! What tasks cost the servers, by the servers' own counts.

use std::time::{Duration, Instant};

use miniapp::bench::{Figure, Figures, Throughput, Unit};
use sqlx::{Connection as _, FromRow};

use crate::servers::Platform;

/// PostgreSQL's connections tell what they did with a delay of up to 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
const PACE: Duration = Duration::from_millis(250);

/// What the servers have done so far, or meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    database: Rows,
    log: i64,
    messages: [i64; 2],
}

#[derive(Clone, Copy, Debug, FromRow)]
struct Rows {
    inserted: i64,
    updated: i64,
    commits: i64,
}

/// Counts under way.
pub struct Counting(Counts);

impl Counting {
    /// Begins to count.
    pub async fn begin(platform: &Platform<'_>) -> anyhow::Result<Self> {
        let (database, log) = (rows(platform).await?, log(platform).await?);
        Ok(Self(Counts { database, log, messages: messages(platform).await? }))
    }

    /// What was done since then, in which `many` tasks were inserted and updated twice.
    pub async fn end(self, platform: &Platform<'_>, many: &Throughput) -> anyhow::Result<Counts> {
        let Self(before) = self;
        let log = log(platform).await? - before.log;
        let messages = messages(platform).await?;
        let messages = [0, 1].map(|which| messages[which] - before.messages[which]);
        let tasks = i64::try_from(many.ids().len())?;
        let late = Instant::now() + PATIENCE;
        loop {
            let now = rows(platform).await?;
            let database = Rows {
                inserted: now.inserted - before.database.inserted,
                updated: now.updated - before.database.updated,
                commits: now.commits - before.database.commits,
            };
            let is_told = database.inserted >= tasks && database.updated >= 2 * tasks;
            if is_told || Instant::now() > late {
                return Ok(Counts { database, log, messages });
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

impl Counts {
    /// Adds them for each task.
    pub fn add_to(&self, figures: &mut Figures, many: &Throughput) {
        let [published, delivered] = self.messages;
        for (key, name, sum, unit) in [
            ("rows.inserted", "Rows inserted a task", self.database.inserted, Unit::Count),
            ("rows.updated", "Rows updated a task", self.database.updated, Unit::Count),
            ("commits", "Commits a task", self.database.commits, Unit::Count),
            ("log.bytes", "PostgreSQL's log a task", self.log, Unit::Bytes),
            ("messages.published", "Messages published a task", published, Unit::Count),
            ("messages.delivered", "Messages delivered a task", delivered, Unit::Count),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = many.each(sum as f64);
            figures.add(Figure::new(key, name, each, unit));
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

/// Bytes that were written to the log.
async fn log(platform: &Platform<'_>) -> anyhow::Result<i64> {
    let mut connection = platform.connect().await?;
    let bytes = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint");
    let bytes = bytes.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(bytes)
}

/// Messages that RabbitMQ was given, and those that it handed out.
async fn messages(platform: &Platform<'_>) -> anyhow::Result<[i64; 2]> {
    const COUNT: &str = "Sum = fun(Names) -> lists:sum([maps:get(Name, Counters, 0) || \
         Counters <- maps:values(rabbit_global_counters:overview()), Name <- Names]) end, \
         {Sum([messages_received_total]), Sum([messages_delivered_total])}.";
    let said = platform.servers.rabbit.ctl(&["eval", COUNT]).await?;
    let numbers = said.split(|letter: char| !letter.is_ascii_digit());
    let numbers: Result<Vec<i64>, _> =
        numbers.filter(|it| !it.is_empty()).map(str::parse).collect();
    numbers?.try_into().map_err(|_| anyhow::anyhow!("RabbitMQ tells no counts: {said}"))
}

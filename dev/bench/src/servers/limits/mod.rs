//! Limits of the machine: what PostgreSQL and RabbitMQ achieve on their own.

mod floor;
mod messages;
mod rows;

use super::platform::Servers;
use crate::expectations::Expectations;
use crate::figures::{Figure, Figures, Target, Unit, millis};
use crate::load::measure_bare_server;
use crate::plan::Plan;

const MESSAGES: u32 = 50_000;
/// Task lifecycles in one transaction, about as many as the platform batches under load.
const BATCH_SIZE: u32 = 100;

/// The rate of a server for one kind of work.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    /// Processor time of the server for each, in seconds.
    cpu_seconds: f64,
}

/// [`Limits::tasks`] of the machine that the targets were set for: 50,300 lifecycles in
/// batches of 100, and 28,900 messages.
const REFERENCE_RATE: f64 = 18_350.0;

/// The best possible figures on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests per second to a bare server.
    http: f64,
    /// Tasks per second if PostgreSQL and RabbitMQ worked one after the other and nothing
    /// else took time.
    tasks: f64,
    /// Milliseconds from submission to the finished event if only the servers took time.
    idle: f64,
}

impl Limits {
    /// Measures `servers`, which must be idle.
    pub async fn measure(
        servers: &Servers,
        plan: &Plan,
        figures: &mut Figures,
    ) -> anyhow::Result<Self> {
        let http = measure_bare_server(plan.readers, plan.gets).await?.rate();
        figures.add(Figure::rate("limit.http", "Limit: bare HTTP server", http));

        let database = rows::TaskRows::prepare(&servers.postgres).await?;
        let single = database.run(plan.readers, 1).await?;
        let name = "Limit: PostgreSQL, lives of 3 transactions";
        figures.add(Figure::rate("limit.rows.single", name, single.per_second));
        // More clients than processors would only wait.
        let batched = database.run(4, BATCH_SIZE).await?;
        let name = format!("Limit: PostgreSQL, lives by {BATCH_SIZE}");
        figures.add(Figure::rate("limit.rows", &name, batched.per_second));
        let micros = |key, name, rate: Rate| {
            Figure::new(key, name, rate.cpu_seconds * 1e6, Unit::Microseconds)
        };
        figures.add(micros("limit.rows.cpu", "  its processor time for each", batched));

        let broker = miniapp_broker::open(&servers.rabbit.host().await?)?;
        let messages = messages::run(&broker, MESSAGES, servers.rabbit.pid()?).await?;
        let rate = Figure::rate("limit.messages", "Limit: RabbitMQ, messages", messages.per_second);
        figures.add(rate);
        figures.add(micros("limit.messages.cpu", "  its processor time for each", messages));
        let tasks = 1.0 / (1.0 / batched.per_second + 1.0 / messages.per_second);
        figures.add(Figure::rate("limit.both", "Limit: one after the other", tasks));

        let commits = floor::commits(database.url()).await?;
        let delivery = floor::delivery(&broker).await?;
        let idle = commits.p50() + delivery.p50();
        figures.add(Figure::millis("limit.commits", "Limit: 3 commits, p50", commits.p50()));
        let name = "Limit: publish to deliver, p50";
        figures.add(Figure::millis("limit.delivery", name, delivery.p50()));
        let figure = Figure::millis("limit.idle", "Limit: both, the floor of an idle task", idle);
        figures.add(figure);
        database.clear().await?;
        Ok(Self { http, tasks, idle: millis(idle) })
    }

    /// Sets the limits of `expectations`, and scales the target rate to this machine.
    pub fn apply_to(self, expectations: &mut Expectations) {
        expectations.gets.limit = Some(self.http);
        expectations.finished.limit = Some(self.tasks);
        if let Target::AtLeast(least) = &mut expectations.finished.target {
            *least *= self.tasks / REFERENCE_RATE;
        }
        expectations.idle.limit = Some(self.idle);
    }
}

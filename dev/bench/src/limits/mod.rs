//! What the two servers do alone on this machine. The platform's figures are read against
//! these.

mod floor;
mod messages;
mod rows;

use miniapp::bench::{Bounds, Figure, Figures, Plan, Target, Unit, hello_world};

use crate::servers::Servers;

/// Messages that RabbitMQ passes on.
const MESSAGES: u32 = 50_000;
/// Tasks' lives in one transaction, about as many as the platform combines under load.
const TOGETHER: u32 = 100;

/// What a server did of something.
#[derive(Clone, Copy, Debug)]
struct Cost {
    per_second: f64,
    /// Its own processor time for each, in seconds.
    processor: f64,
}

/// [`Limits::both`] of the machine that the targets were set for: 50,300 lives by 100 and
/// 28,900 messages.
const REFERENCE: f64 = 18_350.0;

/// What the machine does at best.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests a second to a server that does nothing.
    http: f64,
    /// Tasks a second, if PostgreSQL and RabbitMQ did their part one after the other and
    /// nothing else took any time.
    both: f64,
    /// Milliseconds from a submission to the finished event, if there were only the servers.
    floor: f64,
}

impl Limits {
    /// Measures them on `servers` that do nothing else.
    pub async fn measure(
        servers: &Servers,
        plan: &Plan,
        figures: &mut Figures,
    ) -> anyhow::Result<Self> {
        let http = hello_world(plan.readers, plan.gets).await?.rate();
        figures.add(Figure::rate("limit.http", "Limit: bare HTTP server", http));

        let database = rows::Lives::prepare(&servers.postgres).await?;
        let single = database.run(plan.readers, 1).await?;
        let name = "Limit: PostgreSQL, lives of 3 transactions";
        figures.add(Figure::rate("limit.rows.single", name, single.per_second));
        // More clients than processors would only wait for each other.
        let batched = database.run(4, TOGETHER).await?;
        let name = format!("Limit: PostgreSQL, lives by {TOGETHER}");
        figures.add(Figure::rate("limit.rows", &name, batched.per_second));
        let micros = |key, name, cost: Cost| {
            Figure::new(key, name, cost.processor * 1e6, Unit::Microseconds)
        };
        figures.add(micros("limit.rows.cpu", "  its processor time for each", batched));

        let broker = miniapp_broker::open(&servers.rabbit.host().await?)?;
        let messages = messages::run(&broker, MESSAGES, servers.rabbit.pid()?).await?;
        let rate = Figure::rate("limit.messages", "Limit: RabbitMQ, messages", messages.per_second);
        figures.add(rate);
        figures.add(micros("limit.messages.cpu", "  its processor time for each", messages));
        let both = 1.0 / (1.0 / batched.per_second + 1.0 / messages.per_second);
        figures.add(Figure::rate("limit.both", "Limit: one after the other", both));

        let commits = floor::commits(database.url()).await?;
        let delivery = floor::delivery(&broker).await?;
        let floor = commits.p50() + delivery.p50();
        figures.add(Figure::time("limit.commits", "Limit: 3 commits, p50", commits.p50()));
        let name = "Limit: publish to deliver, p50";
        figures.add(Figure::time("limit.delivery", name, delivery.p50()));
        let figure = Figure::time("limit.idle", "Limit: both, the floor of an idle task", floor);
        figures.add(figure);
        database.clear().await?;
        Ok(Self { http, both, floor: floor.as_secs_f64() * 1000.0 })
    }

    /// Tells `bounds` about them, and asks for as many tasks as this machine should do.
    pub fn bind(self, bounds: &mut Bounds) {
        bounds.gets.limit = Some(self.http);
        bounds.finished.limit = Some(self.both);
        if let Target::AtLeast(least) = &mut bounds.finished.target {
            *least *= self.both / REFERENCE;
        }
        bounds.idle.limit = Some(self.floor);
    }
}

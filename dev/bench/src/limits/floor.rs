//! What a task takes at least on servers that do nothing else: its three commits and one
//! message.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp::bench::Times;
use miniapp_broker::{Broker, Queue};
use miniapp_config::EngineUrl;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::messages::message;
use super::rows::LIFE;

const ROUNDS: i32 = 500;
/// The first ones find cold caches.
const WARM_UP: i32 = 20;
/// No client of pgbench has this number.
const CLIENT: i32 = 1_000_000;

/// The three writes of a life, one after the other, each with its commit.
pub async fn commits(database: &EngineUrl) -> anyhow::Result<Times> {
    let mut connection = PgConnection::connect(database.expose()).await?;
    let life = LIFE.map(|sql| {
        sql.replace(":client_id", &CLIENT.to_string())
            .replace(":n", "$1::int")
            .replace(":batch", "1")
    });
    let mut times = Times::default();
    for round in 0..ROUNDS + WARM_UP {
        let begin = Instant::now();
        for statement in &life {
            let statement = sqlx::query(AssertSqlSafe(statement.clone())).bind(round);
            statement.execute(&mut connection).await?;
        }
        if round >= WARM_UP {
            times.record(begin.elapsed());
        }
    }
    connection.close().await?;
    Ok(times)
}

/// From publishing a message to holding it.
pub async fn delivery(broker: &Arc<dyn Broker>) -> anyhow::Result<Times> {
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let mut times = Times::default();
    for round in 0..ROUNDS + WARM_UP {
        let begin = Instant::now();
        let publishing = broker.publish(Queue::Tasks, vec![message()]);
        // The confirmation comes beside the delivery and isn't waited for.
        let (confirmed, delivered) = tokio::join!(publishing, async {
            let delivery = consumer.next().await.context("the consumer ended")?;
            anyhow::Ok((begin.elapsed(), delivery))
        });
        for confirmed in confirmed {
            confirmed?;
        }
        let (time, delivery) = delivered?;
        if round >= WARM_UP {
            times.record(time);
        }
        delivery.ack().await;
    }
    Ok(times)
}

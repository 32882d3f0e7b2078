//! The lower bound of an idle task's latency: its three commits and one message.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp_broker::{Broker, Queue};
use miniapp_config::EngineUrl;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::messages::message;
use super::rows::LIFECYCLE;
use crate::load::Latencies;

const ROUNDS: i32 = 500;
/// Rounds that are not counted: caches are cold.
const WARM_UP: i32 = 20;
/// A client number that pgbench does not use.
const CLIENT_ID: i32 = 1_000_000;

/// Commits the three writes of a task's lifecycle one after the other.
pub async fn commits(database: &EngineUrl) -> anyhow::Result<Latencies> {
    let mut connection = PgConnection::connect(database.expose()).await?;
    let statements = LIFECYCLE.map(|sql| {
        sql.replace(":client_id", &CLIENT_ID.to_string())
            .replace(":n", "$1::int")
            .replace(":batch", "1")
    });
    let mut latencies = Latencies::default();
    for round in 0..ROUNDS + WARM_UP {
        let start = Instant::now();
        for statement in &statements {
            let statement = sqlx::query(AssertSqlSafe(statement.clone())).bind(round);
            statement.execute(&mut connection).await?;
        }
        if round >= WARM_UP {
            latencies.record(start.elapsed());
        }
    }
    connection.close().await?;
    Ok(latencies)
}

/// Publishes messages one at a time, until their delivery.
pub async fn delivery(broker: &Arc<dyn Broker>) -> anyhow::Result<Latencies> {
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let mut latencies = Latencies::default();
    for round in 0..ROUNDS + WARM_UP {
        let start = Instant::now();
        let publishing = broker.publish(Queue::Tasks, vec![message()]);
        // The latency does not include the publisher confirm.
        let (confirmed, delivered) = tokio::join!(publishing, async {
            let delivery = consumer.next().await.context("the consumer ended")?;
            anyhow::Ok((start.elapsed(), delivery))
        });
        for confirmed in confirmed {
            confirmed?;
        }
        let (time, delivery) = delivered?;
        if round >= WARM_UP {
            latencies.record(time);
        }
        delivery.ack().await;
    }
    Ok(latencies)
}

//! throwaway
use broker::{Broker, MemoryBroker, Queue};
use kit::clock::SystemClock;
use std::sync::Arc;
use std::time::Instant;
use tasks::*;
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let n: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(100_000);
    let fsync = std::env::args().nth(2).as_deref() != Some("nofsync");
    let dir = tempfile::tempdir_in("/work/seed").unwrap();
    let url = format!("sqlite://{}/t.db", dir.path().display());
    let engine = Arc::new(tasks::sqlite::SqliteEngine::open(&url, fsync).await.unwrap());
    let (tasks, upkeep) = Tasks::new(engine, Arc::new(SystemClock));
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::default());
    let stop = kit::lifecycle::Shutdown::new();
    let day = jiff::SignedDuration::from_hours(24);
    tokio::spawn(upkeep.run(broker.clone(), Retention { ended: day, removed: day }, stop));
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let all = Arc::new(tokio::sync::Notify::new());
    for w in 0..3 {
        let mut consumer = broker.consume(Queue::Tasks, 32).await.unwrap();
        let (tasks, done, all) = (tasks.clone(), done.clone(), all.clone());
        let name: Arc<str> = format!("w{w}").into();
        tokio::spawn(async move {
            while let Some(d) = consumer.next().await {
                let (tasks, done, all, name) =
                    (tasks.clone(), done.clone(), all.clone(), name.clone());
                tokio::spawn(async move {
                    let ready = d.message.read().unwrap();
                    if let Some((claim, task)) = tasks
                        .claim(&ready, &name, jiff::SignedDuration::from_secs(15))
                        .await
                        .unwrap()
                    {
                        tasks.finish(claim, task.spec.data.clone()).await.unwrap();
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        all.notify_waiters();
                    }
                    d.ack().await;
                });
            }
        });
    }
    let start = Instant::now();
    let mut joins = vec![];
    let owner = Uuid::from_u128(1);
    for _ in 0..32 {
        let tasks = tasks.clone();
        joins.push(tokio::spawn(async move {
            let mut lat = vec![];
            for _ in 0..n / 32 {
                let t = Instant::now();
                tasks
                    .submit(NewTask {
                        owner,
                        kind: "echo".into(),
                        description: "bench".into(),
                        data: serde_json::value::RawValue::from_string(
                            "{\"hello\":\"world\"}".into(),
                        )
                        .unwrap(),
                        ttl: 30,
                        max_attempts: 3,
                        run_at: None,
                        key: None,
                        trace: Default::default(),
                    })
                    .await
                    .unwrap();
                lat.push(t.elapsed());
            }
            lat
        }));
    }
    let mut lat = vec![];
    for j in joins {
        lat.extend(j.await.unwrap());
    }
    let submitted = start.elapsed();
    let total = n / 32 * 32;
    while done.load(std::sync::atomic::Ordering::Relaxed) < total {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), all.notified()).await;
    }
    let finished = start.elapsed();
    lat.sort();
    println!(
        "submitted {:.0}/s  finished {:.0}/s  submit p50 {:?} p99 {:?}",
        total as f64 / submitted.as_secs_f64(),
        total as f64 / finished.as_secs_f64(),
        lat[lat.len() / 2],
        lat[lat.len() * 99 / 100]
    );
    // idle latency
    let mut idle = vec![];
    for _ in 0..300 {
        let before = done.load(std::sync::atomic::Ordering::Relaxed);
        let t = Instant::now();
        tasks
            .submit(NewTask {
                owner,
                kind: "echo".into(),
                description: "bench".into(),
                data: serde_json::value::RawValue::from_string("1".into()).unwrap(),
                ttl: 30,
                max_attempts: 3,
                run_at: None,
                key: None,
                trace: Default::default(),
            })
            .await
            .unwrap();
        while done.load(std::sync::atomic::Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        idle.push(t.elapsed());
    }
    idle.sort();
    println!("idle life p50 {:?} p99 {:?}", idle[150], idle[297]);
    println!("{:?}", tasks.stats(Some(owner)).await.unwrap());
}

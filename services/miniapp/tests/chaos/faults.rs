//! Injects faults and repairs them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::Signal;
use tokio::time::timeout;

use crate::environment::Environment;
use crate::plan::{Fault, Plan, PlannedFault};
use crate::topology::Who;

/// The grace period of a process between SIGTERM and SIGKILL.
const STOP: Duration = Duration::from_secs(10);

/// Injects faults until calm begins, then repairs everything. Returns the number of faults by name.
pub async fn run(environment: &Environment, seed: u64) -> Result<BTreeMap<&'static str, usize>> {
    let mut injected = BTreeMap::new();
    let mut under_way = FuturesUnordered::new();
    for planned in Plan::new(seed) {
        let mut turn = pin!(environment.until(planned.at));
        let has_come = loop {
            tokio::select! {
                biased;
                Some(ended) = under_way.next() => ended?,
                has_come = &mut turn => break has_come,
            }
        };
        if !has_come {
            break;
        }
        *injected.entry(planned.fault.name()).or_default() += 1;
        environment.note(planned);
        let done = inject(environment, planned);
        under_way.push(async move { done.await.with_context(|| planned.to_string()) });
    }
    while let Some(ended) = under_way.next().await {
        ended?;
    }
    Ok(injected)
}

async fn inject(environment: &Environment, planned: PlannedFault) -> Result<()> {
    let PlannedFault { fault, lasts, .. } = planned;
    match fault {
        Fault::Kill(who) => end_and_restart(environment, who, Signal::KILL, lasts).await,
        Fault::Stop(who) => end_and_restart(environment, who, Signal::TERM, lasts).await,
        Fault::Freeze(who) => {
            let service = environment.service(who).await;
            service.signal(Signal::STOP);
            environment.pause(lasts).await;
            service.signal(Signal::CONT);
        }
        Fault::StopRabbit => {
            let rabbit = environment.rabbit.lock().await;
            rabbit.stop().await?;
            environment.pause(lasts).await;
            rabbit.resume().await?;
        }
        Fault::KillRabbit => {
            let rabbit = environment.rabbit.lock().await;
            rabbit.crash().await?;
            environment.pause(lasts).await;
            rabbit.resume().await?;
        }
        Fault::FreezeRabbit => {
            let rabbit = environment.rabbit.lock().await;
            rabbit.freeze()?;
            environment.pause(lasts).await;
            rabbit.thaw()?;
        }
        Fault::CloseConnections => close_connections(environment).await?,
        Fault::RestartPostgres => environment.postgres.lock().await.restart().await?,
        Fault::Delay(link, most) => {
            environment.link(link).delay(Duration::ZERO..Duration::from_millis(most));
            environment.pause(lasts).await;
            environment.link(link).heal();
        }
        Fault::Stall(link, direction) => {
            environment.link(link).stall(direction);
            environment.pause(lasts).await;
            environment.link(link).heal();
        }
        Fault::Cut(link) => environment.link(link).cut(),
        Fault::Lose(link) => environment.link(link).lose(),
    }
    Ok(())
}

/// Ends a process by a signal and starts it again after a while.
async fn end_and_restart(environment: &Environment, who: Who, signal: Signal, time: Duration) {
    let mut service = environment.service(who).await;
    service.signal(signal);
    if timeout(STOP, service.ended()).await.is_err() {
        environment.note(format_args!("{who} takes too long to stop, and is killed"));
        service.kill().await;
    }
    environment.pause(time).await;
    service.launch_again();
}

/// Closes every connection to the broker by the management API.
async fn close_connections(environment: &Environment) -> Result<()> {
    let rabbit = environment.rabbit.lock().await;
    let api = format!("http://127.0.0.1:{}/api/connections", rabbit.management_port());
    let operator = |request: reqwest::RequestBuilder| {
        request.basic_auth("guest", Some("guest")).header("x-reason", "by an operator")
    };
    let listed = Answer::try_to(operator(client().get(&api))).await?.json();
    let names = listed.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    let closing = names.map(|name| {
        let name = name.replace(' ', "%20").replace('>', "%3E");
        Answer::try_to(operator(client().delete(format!("{api}/{name}"))))
    });
    // It may have been closed already.
    join_all(closing).await;
    Ok(())
}

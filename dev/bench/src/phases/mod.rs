//! The measurements of a platform, one phase after the other.

mod growth;
mod idle;
mod reads;
mod throughput;

use uuid::Uuid;

use crate::expectations::Expectations;
use crate::figures::{Figure, Figures, Unit, grouped, millis};
use crate::load::{Endpoint, Latencies, Load, settle};
use crate::plan::Plan;
use crate::progress::progress;
use growth::{BASELINE_TASKS, Sample};
use idle::Steps;

pub use growth::Baseline;
pub use throughput::Throughput;

/// Measures one platform and collects its figures.
pub struct Bench<'f> {
    endpoint: Endpoint,
    plan: Plan,
    expectations: Expectations,
    pub figures: &'f mut Figures,
    /// How many tasks the bench has stored so far.
    pub stored: u64,
}

impl<'f> Bench<'f> {
    pub fn new(
        endpoint: Endpoint,
        plan: Plan,
        expectations: Expectations,
        figures: &'f mut Figures,
    ) -> Self {
        Self { endpoint, plan, expectations, figures, stored: 0 }
    }

    /// Runs one task at a time, from submission to event.
    pub async fn idle(&mut self) -> anyhow::Result<()> {
        progress("one task at a time");
        settle().await;
        let idle = idle::run(&self.endpoint, self.plan.idle).await?;
        self.stored += idle.total.count();
        let name = "Idle: submit to finished event";
        let [p50, p99] = p50_and_p99("idle.finished", name, &idle.total);
        self.figures.add(p50.expect(self.expectations.idle));
        self.figures.add(p99.at_most(10.0));
        self.add_steps(&idle.steps);
        Ok(())
    }

    fn add_steps(&mut self, steps: &Steps) {
        let Steps { arrive, dispatch, run, notify } = steps;
        let parts = [
            ("idle.arrive", "request to task created", arrive),
            ("idle.dispatch", "its commit, dispatch and claim", dispatch),
            ("idle.run", "commit of the claim, the run", run),
            ("idle.tell", "commit of the result, event to the client", notify),
        ];
        let parts = parts.map(|(key, name, latencies)| (key, name, millis(latencies.p50())));
        self.figures.add_parts(Unit::Milliseconds, parts);
    }

    /// Runs many tasks concurrently, from the first request to the end of the last task.
    pub async fn concurrent(&mut self) -> anyhow::Result<Throughput> {
        progress("many tasks at once");
        let many = self.store(self.plan.tasks).await?;
        let expectation = self.expectations.finished;
        let submitted = Figure::rate("submit.rate", "Submitted", many.submissions.rate());
        self.figures.add(submitted.expect(expectation));
        let finished = Figure::rate("finish.rate", "Finished", many.finished_rate());
        self.figures.add(finished.expect(expectation));
        let [p50, p99] = p50_and_p99("submit", "Submit", &many.submissions.latencies);
        self.figures.add(p50);
        self.figures.add(p99.at_most(25.0));
        Ok(many)
    }

    /// Reads single tasks out of `ids`, then lists.
    pub async fn reads(&mut self, ids: &[Uuid]) -> anyhow::Result<()> {
        progress("reads");
        settle().await;
        let Plan { readers, gets, .. } = self.plan;
        let got = reads::gets(&self.endpoint, readers, gets, ids).await?;
        let rate = Figure::rate("get.rate", "Get a task", got.rate());
        self.figures.add(rate.expect(self.expectations.gets));
        let [p50, p99] = p50_and_p99("get", "Get a task", &got.latencies);
        self.figures.add(p50);
        self.figures.add(p99.at_most(15.0));
        let listed = reads::lists(&self.endpoint, readers, gets / 20).await?;
        self.figures.add(Figure::rate("list.rate", "List 50 tasks", listed.rate()));
        for figure in p50_and_p99("list", "List 50 tasks", &listed.latencies) {
            self.figures.add(figure);
        }
        Ok(())
    }

    /// Submits `tasks` tasks without waiting for their end.
    pub async fn submit(&self, tasks: u64) -> anyhow::Result<Load> {
        throughput::submit(&self.endpoint, self.plan.clients, tasks).await
    }

    /// Submits `tasks` more tasks and waits for their end.
    pub async fn store(&mut self, tasks: u64) -> anyhow::Result<Throughput> {
        self.stored += tasks;
        throughput::run(&self.endpoint, self.plan.clients, tasks).await
    }

    /// Measures with few tasks stored, for [`growth`](Self::growth) to compare with.
    pub async fn baseline(&mut self) -> anyhow::Result<Baseline> {
        progress("few tasks stored");
        let first = self.store(BASELINE_TASKS).await?;
        let sample = Sample::take(&self.endpoint, first.ids()).await?;
        Ok(Baseline { sample, ids: first.ids().to_vec() })
    }

    /// Measures how much longer operations take now that `stored` tasks are stored.
    pub async fn growth(&mut self, baseline: &Baseline, stored: u64) -> anyhow::Result<()> {
        progress("many tasks stored");
        settle().await;
        let sample = Sample::take(&self.endpoint, &baseline.ids).await?;
        let (few, many) = (grouped(BASELINE_TASKS), grouped(stored));
        for (operation, factor) in sample.compare(&baseline.sample) {
            let name = format!("Growth: {operation}, {few} to {many} stored");
            let figure = Figure::new(&format!("growth.{operation}"), &name, factor, Unit::Times);
            self.figures.add(figure.at_most(1.5));
        }
        Ok(())
    }
}

fn p50_and_p99(key: &str, name: &str, latencies: &Latencies) -> [Figure; 2] {
    [("p50", latencies.p50()), ("p99", latencies.p99())].map(|(percentile, latency)| {
        Figure::millis(&format!("{key}.{percentile}"), &format!("{name}, {percentile}"), latency)
    })
}

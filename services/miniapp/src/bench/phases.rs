//! What is measured of a platform, one phase after the other.

use uuid::Uuid;

use super::growth::{FEW, Few, Sample};
use super::http::Target;
use super::idle::Steps;
use super::load::{self, Loaded, Times};
use super::throughput::Throughput;
use super::{Bounds, Figure, Figures, Plan, Subject, Unit};
use super::{figures::millis, idle, reads, throughput};
use crate::ui::words::grouped;

/// A platform that is being measured.
pub struct Bench<'f> {
    target: Target,
    /// How much to do.
    pub plan: Plan,
    bounds: Bounds,
    /// What was measured.
    pub figures: &'f mut Figures,
    /// How many tasks were stored so far.
    pub stored: u64,
    /// Hears what comes next.
    phase: Box<dyn Fn(&str) + 'f>,
}

impl<'f> Bench<'f> {
    /// Will measure `subject` by `plan` and read its figures against `bounds`; `phase`
    /// hears what comes next.
    pub fn new(
        subject: &Subject,
        plan: Plan,
        bounds: Bounds,
        figures: &'f mut Figures,
        phase: impl Fn(&str) + 'f,
    ) -> anyhow::Result<Self> {
        let target = Target::new(subject.api, Some(&subject.token))?;
        Ok(Self { target, plan, bounds, figures, stored: 0, phase: Box::new(phase) })
    }

    /// Tasks that nobody waits for, from submission to event.
    pub async fn one_at_a_time(&mut self) -> anyhow::Result<()> {
        (self.phase)("one task at a time");
        load::settle().await;
        let idle = idle::run(&self.target, self.plan.idle).await?;
        self.stored += idle.whole.count();
        let name = "Idle: submit to finished event";
        let [p50, p99] = middle_and_tail("idle.finished", name, &idle.whole);
        self.figures.add(p50.against(self.bounds.idle));
        self.figures.add(p99.at_most(10.0));
        self.add_steps(&idle.steps);
        Ok(())
    }

    /// Where the time of a task on an idle platform goes.
    fn add_steps(&mut self, steps: &Steps) {
        let Steps { arrive, dispatch, run, tell } = steps;
        let parts = [
            ("idle.arrive", "request to the task's making", arrive),
            ("idle.dispatch", "its commit, dispatch and claim", dispatch),
            ("idle.run", "the claim's commit, the run", run),
            ("idle.tell", "the end's commit, event to the client", tell),
        ];
        let parts = parts.map(|(key, name, times)| (key, name, millis(times.p50())));
        self.figures.parts(Unit::Milliseconds, parts);
    }

    /// Tasks by many clients, from the first request to the last end.
    pub async fn many_at_once(&mut self) -> anyhow::Result<Throughput> {
        (self.phase)("many tasks at once");
        let many = self.store(self.plan.tasks).await?;
        let (submitted, finished) = (many.submitted.rate(), many.finished_rate());
        let bound = self.bounds.finished;
        self.figures.add(Figure::rate("submit.rate", "Submitted", submitted).against(bound));
        self.figures.add(Figure::rate("finish.rate", "Finished", finished).against(bound));
        let [p50, p99] = middle_and_tail("submit", "Submit", &many.submitted.times);
        self.figures.add(p50);
        self.figures.add(p99.at_most(25.0));
        Ok(many)
    }

    /// Single tasks out of `ids`, and lists.
    pub async fn reads(&mut self, ids: &[Uuid]) -> anyhow::Result<()> {
        (self.phase)("reads");
        load::settle().await;
        let Plan { readers, gets, .. } = self.plan;
        let got = reads::gets(&self.target, readers, gets, ids).await?;
        let rate = Figure::rate("get.rate", "Get a task", got.rate());
        self.figures.add(rate.against(self.bounds.gets));
        let [p50, p99] = middle_and_tail("get", "Get a task", &got.times);
        self.figures.add(p50);
        self.figures.add(p99.at_most(15.0));
        let listed = reads::lists(&self.target, readers, gets / 20).await?;
        self.figures.add(Figure::rate("list.rate", "List 50 tasks", listed.rate()));
        for figure in middle_and_tail("list", "List 50 tasks", &listed.times) {
            self.figures.add(figure);
        }
        Ok(())
    }

    /// Submits `tasks` tasks and doesn't wait for their end.
    pub async fn submit(&self, tasks: u64) -> anyhow::Result<Loaded> {
        throughput::submit(&self.target, self.plan.clients, tasks).await
    }

    /// Has `tasks` more tasks run.
    pub async fn store(&mut self, tasks: u64) -> anyhow::Result<Throughput> {
        self.stored += tasks;
        throughput::run(&self.target, self.plan.clients, tasks).await
    }

    /// What will be compared by [`many_stored`](Self::many_stored), while few tasks are there.
    pub async fn few_stored(&mut self) -> anyhow::Result<Few> {
        (self.phase)("few tasks stored");
        let first = self.store(FEW).await?;
        let sample = Sample::take(&self.target, first.ids()).await?;
        Ok(Few { sample, ids: first.ids().to_vec() })
    }

    /// How much longer things take now that `stored` tasks are there.
    pub async fn many_stored(&mut self, few: &Few, stored: u64) -> anyhow::Result<()> {
        (self.phase)("many tasks stored");
        load::settle().await;
        let many = Sample::take(&self.target, &few.ids).await?;
        let (less, more) = (grouped(FEW), grouped(stored));
        for (what, times) in many.compared(&few.sample) {
            let name = format!("Growth: {what}, {less} to {more} stored");
            let figure = Figure::new(&format!("growth.{what}"), &name, times, Unit::Times);
            self.figures.add(figure.at_most(1.5));
        }
        Ok(())
    }
}

fn middle_and_tail(key: &str, name: &str, times: &Times) -> [Figure; 2] {
    [("p50", times.p50()), ("p99", times.p99())].map(|(which, time)| {
        Figure::time(&format!("{key}.{which}"), &format!("{name}, {which}"), time)
    })
}

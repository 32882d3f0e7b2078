//! Processor time and memory of processes, from `/proc`.

use std::collections::HashMap;

use procfs::process::{Process, Stat, all_processes};
use rustix::process::Pid;

use crate::figures::{Figure, Figures, Unit};
use crate::phases::Throughput;

/// The processes of a measurement.
#[derive(Debug, Default)]
pub struct Processes(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    key: String,
    name: String,
    pid: i32,
    role: Role,
}

/// The role of a process in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A service of MiniApp.
    Service,
    /// PostgreSQL or RabbitMQ, measured with its child processes.
    Server,
    /// This process, measured without its child processes: those are the others.
    Generator,
}

/// Processor time of each process in seconds.
#[derive(Debug)]
pub struct CpuTimes(Vec<f64>);

impl Processes {
    pub fn watch(&mut self, name: &str, pid: Pid, role: Role) {
        let key = name.to_lowercase().replace(' ', "-");
        let (name, pid) = (name.to_owned(), pid.as_raw_nonzero().get());
        self.0.push(Watched { key, name, pid, role });
    }

    /// Returns the processor time of each process since its start.
    pub fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        let tree = Tree::read()?;
        Ok(CpuTimes(self.0.iter().map(|watched| tree.cpu_seconds_of(watched)).collect()))
    }

    /// Adds the processor time per task of `many` between two readings, by process.
    pub fn add_cpu_times(
        &self,
        before: &CpuTimes,
        after: &CpuTimes,
        many: &Throughput,
        figures: &mut Figures,
    ) {
        let seconds = before.0.iter().zip(&after.0).map(|(before, after)| after - before);
        let each: Vec<(&Watched, f64)> =
            self.0.iter().zip(seconds.map(|seconds| many.per_task(seconds) * 1e6)).collect();
        let total: f64 = each.iter().map(|(_, micros)| micros).sum();
        let services = each.iter().filter(|(watched, _)| watched.role == Role::Service);
        let services: f64 = services.map(|(_, micros)| micros).sum();
        let cores = total * many.finished_rate() / 1e6;
        figures.add(Figure::new("cpu.cores", "Processors busy", cores, Unit::Cores));
        let micros =
            |key: &str, name: &str, micros| Figure::new(key, name, micros, Unit::Microseconds);
        figures.add(micros("cpu.task", "Processor time a task", total));
        let services_total = micros("cpu.services", "  our services together", services);
        figures.add(services_total.share(services / total));
        for (Watched { key, name, .. }, time) in each {
            let figure = micros(&format!("cpu.{key}"), &format!("  {name}"), time);
            figures.add(figure.share(time / total));
        }
    }

    /// Resets the peak memory of each service to what it uses now.
    pub fn reset_peak_memory(&self) -> anyhow::Result<()> {
        // See clear_refs in proc(5).
        const RESET_PEAK: &str = "5";
        for service in self.0.iter().filter(|watched| watched.role == Role::Service) {
            std::fs::write(format!("/proc/{}/clear_refs", service.pid), RESET_PEAK)?;
        }
        Ok(())
    }

    /// Adds the peak memory of each service since the reset.
    pub fn add_peak_memory(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for service in self.0.iter().filter(|watched| watched.role == Role::Service) {
            let kibibytes = Process::new(service.pid)?.status()?.vmhwm.unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let megabytes = kibibytes as f64 * 1024.0 / 1e6;
            let (key, name) = (format!("memory.{}", service.key), &service.name);
            let name = format!("Memory at most: {name}");
            let figure = Figure::new(&key, &name, megabytes, Unit::Megabytes);
            figures.add(figure.at_most(40.0));
        }
        Ok(())
    }
}

/// Returns the processor time of `pid` in seconds, without its child processes.
pub fn cpu_seconds(pid: Pid) -> anyhow::Result<f64> {
    Ok(Tree::read()?.own_seconds(pid.as_raw_nonzero().get(), 0))
}

/// Returns the processor time of `pid` and its child processes in seconds.
pub fn cpu_seconds_with_children(pid: Pid) -> anyhow::Result<f64> {
    Ok(Tree::read()?.seconds_with_children(pid.as_raw_nonzero().get()))
}

/// All processes of the machine at one moment.
struct Tree {
    stats: HashMap<i32, Stat>,
    ticks_per_second: f64,
}

impl Tree {
    fn read() -> anyhow::Result<Self> {
        // A process that ends in between is missing; its parent has its time.
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let stats = stats.map(|stat| (stat.pid, stat)).collect();
        #[expect(clippy::cast_precision_loss, reason = "usually 100")]
        let ticks_per_second = procfs::ticks_per_second() as f64;
        Ok(Self { stats, ticks_per_second })
    }

    fn cpu_seconds_of(&self, watched: &Watched) -> f64 {
        match watched.role {
            Role::Server => self.seconds_with_children(watched.pid),
            Role::Service | Role::Generator => self.own_seconds(watched.pid, 0),
        }
    }

    /// Includes children that have ended.
    fn seconds_with_children(&self, pid: i32) -> f64 {
        let ended = self.stats.get(&pid).map_or(0, |stat| stat.cutime + stat.cstime);
        let children = self.stats.values().filter(|stat| stat.ppid == pid);
        let children: f64 = children.map(|child| self.seconds_with_children(child.pid)).sum();
        self.own_seconds(pid, ended.unsigned_abs()) + children
    }

    /// Returns the time of `pid` plus `more` ticks.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn own_seconds(&self, pid: i32, more: u64) -> f64 {
        let own = self.stats.get(&pid).map_or(0, |stat| stat.utime + stat.stime);
        (own + more) as f64 / self.ticks_per_second
    }
}

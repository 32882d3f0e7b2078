//! Processor time and memory of processes, from `/proc`.

use std::collections::HashMap;

use miniapp::bench::{Figure, Figures, Throughput, Unit};
use procfs::process::{Process, Stat, all_processes};
use rustix::process::Pid;

/// Processes that are watched.
#[derive(Debug, Default)]
pub struct Processes(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    key: String,
    name: String,
    pid: i32,
    part: Part,
}

/// What a process is to the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One of our services.
    Service,
    /// What they run on, with all the processes that it started.
    Server,
    /// What makes the load, without the others, which it started.
    Generator,
}

/// The processor time that each has taken, in seconds.
#[derive(Debug)]
pub struct Taken(Vec<f64>);

impl Processes {
    /// Watches the process `pid` under the name `name`.
    pub fn watch(&mut self, name: &str, pid: Pid, part: Part) {
        let key = name.to_lowercase().replace(' ', "-");
        let (name, pid) = (name.to_owned(), pid.as_raw_nonzero().get());
        self.0.push(Watched { key, name, pid, part });
    }

    /// What they have taken since they started.
    pub fn taken(&self) -> anyhow::Result<Taken> {
        let tree = Tree::now()?;
        Ok(Taken(self.0.iter().map(|watched| tree.taken_by(watched)).collect()))
    }

    /// Adds the processor time of each task of `many`, and where it went between two moments.
    pub fn add_time(&self, from: &Taken, to: &Taken, many: &Throughput, figures: &mut Figures) {
        let each = self.0.iter().zip(from.0.iter().zip(&to.0));
        let each: Vec<(&Watched, f64)> =
            each.map(|(watched, (from, to))| (watched, many.each(to - from) * 1e6)).collect();
        let all: f64 = each.iter().map(|(_, micros)| micros).sum();
        let services = each.iter().filter(|(watched, _)| watched.part == Part::Service);
        let services: f64 = services.map(|(_, micros)| micros).sum();
        let cores = all * many.finished_rate() / 1e6;
        figures.add(Figure::new("cpu.cores", "Processors busy", cores, Unit::Cores));
        let micros =
            |key: &str, name: &str, micros| Figure::new(key, name, micros, Unit::Microseconds);
        figures.add(micros("cpu.task", "Processor time a task", all));
        figures
            .add(micros("cpu.services", "  our services together", services).part(services / all));
        for (Watched { key, name, .. }, time) in each {
            figures.add(micros(&format!("cpu.{key}"), &format!("  {name}"), time).part(time / all));
        }
    }

    /// Forgets how much memory each service has had at most so far.
    pub fn forget_memory(&self) -> anyhow::Result<()> {
        // What Linux calls it to set the peak to what is in use now.
        const PEAK: &str = "5";
        for service in self.0.iter().filter(|watched| watched.part == Part::Service) {
            std::fs::write(format!("/proc/{}/clear_refs", service.pid), PEAK)?;
        }
        Ok(())
    }

    /// Adds the most memory that each service has had since.
    pub fn add_memory(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for service in self.0.iter().filter(|watched| watched.part == Part::Service) {
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

/// The processor time that `pid` has taken and all that it started, in seconds.
pub fn taken_with_children(pid: Pid) -> anyhow::Result<f64> {
    Ok(Tree::now()?.with_children(pid.as_raw_nonzero().get()))
}

/// All processes of the machine at one moment.
struct Tree {
    stats: HashMap<i32, Stat>,
    ticks_per_second: f64,
}

impl Tree {
    fn now() -> anyhow::Result<Self> {
        // One that ends meanwhile is left out; its parent has its time.
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let stats = stats.map(|stat| (stat.pid, stat)).collect();
        #[expect(clippy::cast_precision_loss, reason = "it is a hundred or so")]
        let ticks_per_second = procfs::ticks_per_second() as f64;
        Ok(Self { stats, ticks_per_second })
    }

    fn taken_by(&self, watched: &Watched) -> f64 {
        match watched.part {
            Part::Server => self.with_children(watched.pid),
            Part::Service | Part::Generator => self.own(watched.pid, 0),
        }
    }

    /// What `pid` has taken and all that it started, those that have ended included.
    fn with_children(&self, pid: i32) -> f64 {
        let ended = self.stats.get(&pid).map_or(0, |stat| stat.cutime + stat.cstime);
        let children = self.stats.values().filter(|stat| stat.ppid == pid);
        let children: f64 = children.map(|child| self.with_children(child.pid)).sum();
        self.own(pid, ended.unsigned_abs()) + children
    }

    /// What `pid` has taken and `more` ticks, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn own(&self, pid: i32, more: u64) -> f64 {
        let own = self.stats.get(&pid).map_or(0, |stat| stat.utime + stat.stime);
        (own + more) as f64 / self.ticks_per_second
    }
}

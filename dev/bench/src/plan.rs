//! How much to measure.

/// Options of every command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Clients that submit at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub clients: u16,
    /// Clients that read at the same time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub readers: u16,
    /// Tasks to submit concurrently
    #[arg(long, default_value_t = 100_000)]
    pub tasks: u64,
    /// Tasks to submit one after the other
    #[arg(long, default_value_t = 500)]
    pub idle: u32,
    /// Single tasks to read
    #[arg(long, default_value_t = 100_000)]
    pub gets: u64,
    /// Compare 1,000 stored tasks with this many
    #[arg(long, value_name = "TASKS")]
    pub growth: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

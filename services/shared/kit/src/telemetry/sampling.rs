//! Which traces are recorded.

/// Which new traces are recorded, and whether a caller's decision is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub(super) root: Root,
    pub(super) follows_parent: bool,
}

/// What decides about a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    Always,
    Never,
    Ratio(f64),
    PerSecond(u32),
}

/// Why a sampler can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingFault {
    /// The name.
    #[error(
        "must be always_on, always_off, traceidratio or ratelimited, or one of these after \
         parentbased_"
    )]
    Sampler,
    /// The argument, for a ratio.
    #[error("must be a number from 0 to 1 for traceidratio")]
    Ratio,
    /// The argument, for a rate.
    #[error("must be a whole number of traces a second for ratelimited")]
    Rate,
}

impl SamplingFault {
    /// The key of the setting at fault.
    pub fn key(self) -> &'static str {
        match self {
            Self::Sampler => "telemetry.sampler",
            Self::Ratio | Self::Rate => "telemetry.sampler_arg",
        }
    }
}

const DEFAULT_RATE: u32 = 20;

impl Sampling {
    /// Reads OpenTelemetry's names, and `ratelimited` besides.
    pub fn parse(sampler: &str, argument: &str) -> Result<Self, SamplingFault> {
        let (root, follows_parent) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (sampler, false),
        };
        let argument = argument.trim();
        let root = match root {
            "always_on" => Root::Always,
            "always_off" => Root::Never,
            "traceidratio" if argument.is_empty() => Root::Ratio(1.0),
            "traceidratio" => {
                let ratio = argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                Root::Ratio(ratio.ok_or(SamplingFault::Ratio)?)
            }
            "ratelimited" if argument.is_empty() => Root::PerSecond(DEFAULT_RATE),
            "ratelimited" => Root::PerSecond(argument.parse().map_err(|_| SamplingFault::Rate)?),
            _ => return Err(SamplingFault::Sampler),
        };
        Ok(Self { root, follows_parent })
    }
}

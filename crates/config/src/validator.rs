//! Rules for values.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use crate::layers::Layers;
use crate::{ConfigError, EngineUrl};

/// Rejects values of one section. An error names the key, its variable and its source.
#[derive(Clone, Copy)]
pub struct Validator<'a> {
    layers: &'a Layers,
    section: &'static str,
}

impl<'a> Validator<'a> {
    pub(crate) fn new(layers: &'a Layers, section: &'static str) -> Self {
        Self { layers, section }
    }

    /// Rejects the value of `key` with `message` unless `holds`.
    pub fn ensure(&self, key: &str, holds: bool, message: &str) -> Result<(), ConfigError> {
        if holds { Ok(()) } else { Err(self.invalid(key, message)) }
    }

    pub fn range<T: Copy + PartialOrd + Debug>(
        &self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Result<(), ConfigError> {
        if range.contains(&value) {
            return Ok(());
        }
        let (min, max) = (range.start(), range.end());
        Err(self.invalid(key, &format!("must be from {min:?} to {max:?}, not {value:?}")))
    }

    /// Rejects a URL that selects none of the engines.
    pub fn engine(&self, key: &str, url: &EngineUrl, schemes: &[&str]) -> Result<(), ConfigError> {
        let known: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        let known = known.join(" or ");
        let message = format!("must begin with {known}, not with {}://", url.scheme());
        self.ensure(key, schemes.contains(&url.scheme()), &message)
    }

    fn invalid(&self, key: &str, message: &str) -> ConfigError {
        self.layers.invalid(&format!("{}.{key}", self.section), message)
    }
}

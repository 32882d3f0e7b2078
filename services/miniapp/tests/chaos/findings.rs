//! Collects all violated rules instead of stopping at the first.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// The number of reported cases per rule.
const EXAMPLES: usize = 5;

/// Violated rules with their cases.
#[derive(Default)]
pub struct Findings(Mutex<BTreeMap<&'static str, (usize, Vec<String>)>>);

impl Findings {
    /// Records a violation.
    pub fn add(&self, rule: &'static str, how: impl fmt::Display) {
        let mut rules = self.0.lock();
        let (count, examples) = rules.entry(rule).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(how.to_string());
        }
    }

    /// Records a violation unless `holds`.
    pub fn check(&self, holds: bool, rule: &'static str, how: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, how());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, (count, examples)) in self.0.lock().iter() {
            writeln!(f, "VIOLATED {count} times: {rule}")?;
            for example in examples {
                writeln!(f, "    {example}")?;
            }
        }
        Ok(())
    }
}

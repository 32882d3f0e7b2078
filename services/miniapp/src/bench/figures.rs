//! What was measured, beside what it should be.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::load::Times;
use crate::ui::words::grouped;
use crate::ui::{Palette, Table, Tone};

/// A number and what it should be.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its stable name, for scripts.
    pub key: String,
    /// Its name for people.
    pub name: String,
    /// The number.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
    /// What it should be, if that was settled.
    pub target: Option<Target>,
    /// How much of the whole it is, where it is a part.
    pub share: Option<f64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Things a second.
    PerSecond,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Megabytes, of a million bytes.
    Megabytes,
    /// So many times as much.
    Times,
    /// In a hundred.
    Percent,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// Figures in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, key: &str, name: &str, value: f64, unit: Unit, target: Option<Target>) {
        let (key, name) = (key.to_owned(), name.to_owned());
        self.0.push(Figure { key, name, value, unit, target, share: None });
    }

    /// Adds the parts of a whole, in milliseconds, with their shares of it.
    pub fn parts(&mut self, parts: &[(&str, &str, Duration)]) {
        let whole: Duration = parts.iter().map(|(_, _, part)| *part).sum();
        for (key, name, part) in parts {
            self.time(key, &format!("  {name}"), *part, None);
            if let Some(figure) = self.0.last_mut() {
                figure.share = Some(part.as_secs_f64() / whole.as_secs_f64());
            }
        }
    }

    /// Adds a length of time in microseconds.
    pub fn micros(&mut self, key: &str, name: &str, value: Duration, target: Option<Target>) {
        self.add(key, name, millis(value) * 1000.0, Unit::Microseconds, target);
    }

    /// Adds a length of time.
    pub fn time(&mut self, key: &str, name: &str, value: Duration, target: Option<Target>) {
        self.add(key, name, millis(value), Unit::Milliseconds, target);
    }

    /// Adds the middle and the tail of many lengths of time.
    pub fn times(
        &mut self,
        key: &str,
        name: &str,
        times: &Times,
        p50: Option<Target>,
        p99: Option<Target>,
    ) {
        self.time(&format!("{key}.p50"), &format!("{name}, p50"), times.p50(), p50);
        self.time(&format!("{key}.p99"), &format!("{name}, p99"), times.p99(), p99);
    }

    /// The figures as a table.
    pub fn table(&self, palette: Palette) -> Table {
        let mut table = Table::new(palette, &["FIGURE", "MEASURED", "TARGET", ""]);
        for figure in &self.0 {
            let target = figure.target.map(|target| target.show(figure.unit)).unwrap_or_default();
            let share = figure.share.map(|share| format!("{:.0} %", share * 100.0));
            let (verdict, tone) = match figure.is_met() {
                None => (share.as_deref().unwrap_or_default(), Tone::Dim),
                Some(true) => ("met", Tone::Good),
                Some(false) => ("missed", Tone::Bad),
            };
            table.row([
                (figure.name.as_str(), Tone::Strong),
                (&figure.unit.show(figure.value), Tone::Strong),
                (&target, Tone::Dim),
                (verdict, tone),
            ]);
        }
        table
    }

    /// The figures for scripts.
    pub fn json(&self) -> Value {
        let figures = self.0.iter().map(|figure| {
            let (at_least, at_most) = match figure.target {
                Some(Target::AtLeast(value)) => (Some(value), None),
                Some(Target::AtMost(value)) => (None, Some(value)),
                None => (None, None),
            };
            json!({
                "key": figure.key,
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "atLeast": at_least,
                "atMost": at_most,
                "met": figure.is_met(),
                "share": figure.share,
            })
        });
        json!({ "figures": figures.collect::<Vec<_>>() })
    }
}

impl Figure {
    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
        })
    }
}

impl Target {
    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(value) => format!(">= {}", unit.show(value)),
            Self::AtMost(value) => format!("<= {}", unit.show(value)),
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        let number = match value.abs() {
            100.0.. => grouped(whole(value)),
            10.0..100.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        match self {
            Self::PerSecond => format!("{number} /s"),
            Self::Microseconds => format!("{number} us"),
            Self::Milliseconds => format!("{number} ms"),
            Self::Megabytes => format!("{number} MB"),
            Self::Times => format!("{number} x"),
            Self::Percent => format!("{number} %"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures are positive")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A length of time in milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_against_their_targets() {
        let mut figures = Figures::default();
        figures.add("rate", "Rate", 12_345.6, Unit::PerSecond, Some(Target::AtLeast(8000.0)));
        figures.time("wait", "Wait", Duration::from_micros(1700), Some(Target::AtMost(1.5)));
        figures.parts(&[
            ("a", "One part", Duration::from_millis(1)),
            ("b", "The other", Duration::from_millis(3)),
        ]);
        let text = figures.table(Palette::new(false)).to_string();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
            .collect();
        assert_eq!(rows[1], ["Rate", "12,346 /s", ">= 8,000 /s", "met"]);
        assert_eq!(rows[2], ["Wait", "1.70 ms", "<= 1.50 ms", "missed"]);
        assert_eq!(rows[3], ["One part", "1.00 ms", "25 %"]);
        assert_eq!(figures.json()["figures"][1]["met"], false);
    }
}

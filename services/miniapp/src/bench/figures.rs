//! What was measured, beside what it should be.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::ui::words::grouped;
use crate::ui::{Palette, Table, Tone};

/// A number and what it should be.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its stable name, for scripts.
    key: String,
    /// Its name for people.
    name: String,
    value: f64,
    unit: Unit,
    /// What it should be, if that was settled.
    target: Option<Target>,
    /// What it could be at best on this machine, if that was measured.
    limit: Option<f64>,
    /// How much of the whole it is, where it is a part.
    share: Option<f64>,
}

/// What a figure is read against.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// What it should be.
    pub target: Target,
    /// What it could be at best on this machine, if that was measured.
    pub limit: Option<f64>,
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
    /// Processors kept busy.
    Cores,
    /// Things, on average.
    Count,
    /// Bytes.
    Bytes,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Figure {
    /// A number.
    pub fn new(key: &str, name: &str, value: f64, unit: Unit) -> Self {
        let (key, name) = (key.to_owned(), name.to_owned());
        Self { key, name, value, unit, target: None, limit: None, share: None }
    }

    /// How many of something there were a second.
    pub fn rate(key: &str, name: &str, value: f64) -> Self {
        Self::new(key, name, value, Unit::PerSecond)
    }

    /// A length of time in milliseconds.
    pub fn time(key: &str, name: &str, value: Duration) -> Self {
        Self::new(key, name, millis(value), Unit::Milliseconds)
    }

    /// A length of time in microseconds.
    pub fn micros(key: &str, name: &str, value: Duration) -> Self {
        Self::new(key, name, millis(value) * 1000.0, Unit::Microseconds)
    }

    /// It should be so much or more.
    #[must_use]
    pub fn at_least(self, least: f64) -> Self {
        Self { target: Some(Target::AtLeast(least)), ..self }
    }

    /// It should be so much or less.
    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        Self { target: Some(Target::AtMost(most)), ..self }
    }

    /// It is read against `bound`.
    #[must_use]
    pub fn against(self, bound: Bound) -> Self {
        Self { target: Some(bound.target), limit: bound.limit, ..self }
    }

    /// It is such a share of a whole.
    #[must_use]
    pub fn part(self, share: f64) -> Self {
        Self { share: Some(share), ..self }
    }

    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
        })
    }

    /// How much it is of the whole, or of what it could be at best.
    fn share(&self) -> Option<f64> {
        self.share.or_else(|| self.limit.map(|limit| self.value / limit))
    }
}

/// Figures in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// Adds the parts of a whole with their shares of it: key, name and value.
    pub fn parts<'a>(
        &mut self,
        unit: Unit,
        parts: impl IntoIterator<Item = (&'a str, &'a str, f64)> + Clone,
    ) {
        let whole: f64 = parts.clone().into_iter().map(|(.., value)| value).sum();
        for (key, name, value) in parts {
            let figure = Figure::new(key, &format!("  {name}"), value, unit);
            self.add(figure.part(value / whole));
        }
    }

    /// The figures as a table.
    pub fn table(&self, palette: Palette) -> Table {
        let header = ["FIGURE", "MEASURED", "TARGET", "", "LIMIT", "SHARE"];
        let mut table = Table::new(palette, &header);
        for figure in &self.0 {
            let show = |value: Option<f64>| value.map(|value| figure.unit.show(value));
            let target = figure.target.map(|target| target.show(figure.unit));
            let share = figure.share().map(|share| format!("{:.0} %", share * 100.0));
            let (verdict, tone) = match figure.is_met() {
                None => ("", Tone::Dim),
                Some(true) => ("met", Tone::Good),
                Some(false) => ("missed", Tone::Bad),
            };
            table.row([
                (figure.name.as_str(), Tone::Strong),
                (&figure.unit.show(figure.value), Tone::Strong),
                (&target.unwrap_or_default(), Tone::Dim),
                (verdict, tone),
                (&show(figure.limit).unwrap_or_default(), Tone::Dim),
                (&share.unwrap_or_default(), Tone::Dim),
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
                "limit": figure.limit,
                "share": figure.share(),
            })
        });
        json!({ "figures": figures.collect::<Vec<_>>() })
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
            Self::Cores => format!("{number} cores"),
            Self::Count => number,
            Self::Bytes => format!("{number} B"),
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
        let bound = Bound { target: Target::AtLeast(8000.0), limit: Some(24_691.2) };
        figures.add(Figure::rate("rate", "Rate", 12_345.6).against(bound));
        figures.add(Figure::time("wait", "Wait", Duration::from_micros(1700)).at_most(1.5));
        figures.parts(Unit::Milliseconds, [("a", "One part", 1.0), ("b", "The other", 3.0)]);
        let text = figures.table(Palette::new(false)).to_string();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
            .collect();
        assert_eq!(rows[1], ["Rate", "12,346 /s", ">= 8,000 /s", "met", "24,691 /s", "50 %"]);
        assert_eq!(rows[2], ["Wait", "1.70 ms", "<= 1.50 ms", "missed"]);
        assert_eq!(rows[3], ["One part", "1.00 ms", "25 %"]);
        assert_eq!(figures.json()["figures"][1]["met"], false);
    }
}

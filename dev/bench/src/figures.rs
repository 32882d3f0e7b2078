//! Measured figures with their targets, as a table or JSON.

use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

/// A measured number.
#[derive(Clone, Debug)]
pub struct Figure {
    /// A stable name for scripts.
    key: String,
    /// A name for people.
    name: String,
    value: f64,
    unit: Unit,
    target: Option<Target>,
    /// The best possible value on this machine, if it was measured.
    limit: Option<f64>,
    /// The fraction of a total that this figure is a part of.
    share: Option<f64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    PerSecond,
    Microseconds,
    Milliseconds,
    /// Of a million bytes.
    Megabytes,
    /// A factor.
    Times,
    Percent,
    /// Busy processors.
    Cores,
    /// A number of things, on average.
    Count,
    Bytes,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    pub target: Target,
    /// The best possible value on this machine, if it was measured.
    pub limit: Option<f64>,
}

impl Figure {
    pub fn new(key: &str, name: &str, value: f64, unit: Unit) -> Self {
        let (key, name) = (key.to_owned(), name.to_owned());
        Self { key, name, value, unit, target: None, limit: None, share: None }
    }

    /// A rate per second.
    pub fn rate(key: &str, name: &str, value: f64) -> Self {
        Self::new(key, name, value, Unit::PerSecond)
    }

    /// A duration in milliseconds.
    pub fn millis(key: &str, name: &str, value: Duration) -> Self {
        Self::new(key, name, millis(value), Unit::Milliseconds)
    }

    /// A duration in microseconds.
    pub fn micros(key: &str, name: &str, value: Duration) -> Self {
        Self::new(key, name, millis(value) * 1000.0, Unit::Microseconds)
    }

    #[must_use]
    pub fn at_most(self, value: f64) -> Self {
        Self { target: Some(Target::AtMost(value)), ..self }
    }

    #[must_use]
    pub fn expect(self, Expectation { target, limit }: Expectation) -> Self {
        Self { target: Some(target), limit, ..self }
    }

    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Self { share: Some(share), ..self }
    }

    fn meets_target(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
        })
    }

    /// Returns the fraction of the total or of the machine's limit.
    fn fraction(&self) -> Option<f64> {
        self.share.or_else(|| self.limit.map(|limit| self.value / limit))
    }
}

/// Figures in the order of their measurement.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    pub fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// Adds the parts of a total, given as key, name and value, with their shares.
    pub fn add_parts<'a>(
        &mut self,
        unit: Unit,
        parts: impl IntoIterator<Item = (&'a str, &'a str, f64)> + Clone,
    ) {
        let total: f64 = parts.clone().into_iter().map(|(.., value)| value).sum();
        for (key, name, value) in parts {
            let figure = Figure::new(key, &format!("  {name}"), value, unit);
            self.add(figure.share(value / total));
        }
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let header = ["FIGURE", "MEASURED", "TARGET", "", "LIMIT", "SHARE"];
        table.set_header(header.map(dim));
        for figure in &self.0 {
            let show = |value: Option<f64>| value.map(|value| figure.unit.show(value));
            let target = figure.target.map(|target| target.show(figure.unit));
            let share = figure.fraction().map(|share| format!("{:.0} %", share * 100.0));
            let verdict = match figure.meets_target() {
                None => Cell::new(""),
                Some(true) => Cell::new("met").fg(Color::DarkGreen),
                Some(false) => Cell::new("missed").fg(Color::DarkRed),
            };
            table.add_row([
                Cell::new(&figure.name),
                Cell::new(figure.unit.show(figure.value)),
                dim(target.unwrap_or_default()),
                verdict,
                dim(show(figure.limit).unwrap_or_default()),
                dim(share.unwrap_or_default()),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }

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
                "met": figure.meets_target(),
                "limit": figure.limit,
                "share": figure.fraction(),
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
            100.0.. => grouped(rounded(value)),
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

fn dim(text: impl ToString) -> Cell {
    Cell::new(text).add_attribute(Attribute::Dim)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures are positive")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// Formats a number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), number % 1000),
    }
}

/// Returns a duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_targets_and_shares() {
        let mut figures = Figures::default();
        let expectation = Expectation { target: Target::AtLeast(8000.0), limit: Some(24_691.2) };
        figures.add(Figure::rate("rate", "Rate", 12_345.6).expect(expectation));
        figures.add(Figure::millis("wait", "Wait", Duration::from_micros(1700)).at_most(1.5));
        figures.add_parts(Unit::Milliseconds, [("a", "One part", 1.0), ("b", "The other", 3.0)]);
        let text = figures.table().force_no_tty().to_string();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
            .collect();
        assert_eq!(rows[1], ["Rate", "12,346 /s", ">= 8,000 /s", "met", "24,691 /s", "50 %"]);
        assert_eq!(rows[2], ["Wait", "1.70 ms", "<= 1.50 ms", "missed"]);
        assert_eq!(rows[3], ["One part", "1.00 ms", "25 %"]);
        assert_eq!(figures.json()["figures"][1]["met"], false);
    }

    #[test]
    fn grouped_separates_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_067, "1,234,067")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }
}

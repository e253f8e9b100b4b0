//! Figures: samples of one quantity, and their summary.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "B")]
    Bytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "B",
        })
    }
}

/// One quantity, measured several times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub unit: Unit,
    pub values: Vec<f64>,
}

impl Figure {
    pub fn nanoseconds(name: &str, values: Vec<f64>) -> Figure {
        Figure { name: name.to_owned(), unit: Unit::Nanoseconds, values }
    }

    pub fn bytes(name: &str, values: Vec<f64>) -> Figure {
        Figure { name: name.to_owned(), unit: Unit::Bytes, values }
    }

    /// The line of a report.
    pub fn summary(mut self, runtime: &str) -> Row {
        self.values.sort_by(f64::total_cmp);
        let at = |place: usize| self.values.get(place).copied().unwrap_or(f64::NAN);
        let samples = self.values.len();
        Row {
            runtime: runtime.to_owned(),
            median: (at(samples.saturating_sub(1) / 2) + at(samples / 2)) / 2.0,
            min: at(0),
            max: at(samples.saturating_sub(1)),
            benchmark: self.name,
            unit: self.unit,
            samples,
        }
    }
}

/// Adds the samples of another process to those of the same name.
pub fn merge(figures: &mut Vec<Figure>, found: Vec<Figure>) {
    for figure in found {
        match figures.iter_mut().find(|known| known.name == figure.name) {
            Some(known) => known.values.extend(figure.values),
            None => figures.push(figure),
        }
    }
}

/// One figure of one runtime: the median and the extremes of its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub runtime: String,
    pub benchmark: String,
    pub unit: Unit,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// How many samples there were.
    pub samples: usize,
}

impl fmt::Display for Row {
    /// The median above the extremes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}–{}", short(self.median), short(self.min), short(self.max))
    }
}

/// Three digits or more, and a decimal only where it tells something.
fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_median_and_the_extremes() {
        let summary = |values| {
            let row = Figure::bytes("size", values).summary("any");
            (row.median, row.min, row.max, row.samples)
        };
        assert_eq!(summary(vec![5.0, 1.0, 2.0]), (2.0, 1.0, 5.0, 3));
        assert_eq!(summary(vec![4.0, 1.0, 2.0, 9.0]), (3.0, 1.0, 9.0, 4));
    }

    #[test]
    fn samples_of_two_processes_are_merged_by_name() {
        let mut figures = vec![Figure::bytes("a", vec![1.0])];
        merge(&mut figures, vec![Figure::bytes("b", vec![2.0]), Figure::bytes("a", vec![3.0])]);
        let values: Vec<_> = figures.iter().map(|figure| (figure.name.as_str(), figure.values.as_slice())).collect();
        assert_eq!(values, [("a", [1.0, 3.0].as_slice()), ("b", [2.0].as_slice())]);
    }
}

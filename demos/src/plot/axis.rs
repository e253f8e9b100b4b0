//! Axes: a name, a scale, ticks at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// One axis of a plot. Values are brought onto a linear scale before they are drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From 0.
    Linear(String),
    /// Whole decades.
    Log(String),
    /// Quantiles from 0 to 1, by the number of their nines: the median at 0.3, 0.9 at 1, 0.99 at 2. The
    /// greatest of all has no place.
    Nines(String),
}

/// Ticks on a linear axis, about.
const TICKS: f64 = 4.0;
/// Below this number of decades, a logarithmic axis also has ticks at 2 and 5: labels need room ...
const FEW_DECADES: f64 = 1.3;
/// ... of which there is more where they stand one above the other.
const FEW_DECADES_UPRIGHT: f64 = 2.5;
/// The least span of a logarithmic axis, in decades: equal values are drawn as equal.
const LEAST_DECADES: f64 = 0.5;

impl Axis {
    /// What is written beside it.
    pub fn name(&self) -> &str {
        match self {
            Axis::Linear(name) | Axis::Log(name) | Axis::Nines(name) => name,
        }
    }

    /// Where a value lies, or `None` if it has no place: no number, or nothing on a logarithmic scale.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match self {
            Axis::Linear(_) => value,
            Axis::Log(_) => value.log10(),
            Axis::Nines(_) => -(1.0 - value).log10(),
        };
        place.is_finite().then_some(place)
    }

    /// The part of the axis that shows all these places.
    pub(super) fn range(&self, places: impl Iterator<Item = f64>) -> Range<f64> {
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = places.fold(start, |(low, high), place| (low.min(place), high.max(place)));
        match self {
            _ if low > high => 0.0..1.0,
            Axis::Linear(_) if high <= 0.0 => 0.0..1.0,
            Axis::Linear(_) => 0.0..high * 1.02,
            Axis::Log(_) => low - 0.04..high.max(low + LEAST_DECADES) + 0.04,
            Axis::Nines(_) => 0.0..high.max(1.0),
        }
    }

    /// Where lines of the grid belong, on an axis below.
    pub(super) fn ticks(&self, range: &Range<f64>) -> Vec<f64> {
        self.ticks_within(range, FEW_DECADES)
    }

    /// Where they belong on an axis at the side.
    pub(super) fn ticks_upright(&self, range: &Range<f64>) -> Vec<f64> {
        self.ticks_within(range, FEW_DECADES_UPRIGHT)
    }

    fn ticks_within(&self, range: &Range<f64>, few_decades: f64) -> Vec<f64> {
        let step = match self {
            Axis::Linear(_) => round_step((range.end - range.start) / TICKS),
            Axis::Log(_) if range.end - range.start < few_decades => {
                let ticks = log_ticks(range, &[1.0, 2.0, 5.0]);
                // A single number is no scale.
                return if ticks.len() > 2 { ticks } else { log_ticks(range, &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]) };
            }
            Axis::Log(_) => return log_ticks(range, &[1.0]),
            Axis::Nines(_) => 1.0,
        };
        let first = (range.start / step).ceil() as i64;
        let last = (range.end / step + 1e-9).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    /// What is written at a tick.
    pub(super) fn label(&self, place: f64) -> String {
        match self {
            Axis::Linear(_) => short(place),
            Axis::Log(_) => short(10f64.powf(place)),
            Axis::Nines(_) => {
                let nines = place.round().max(0.0) as usize;
                let digits = nines.saturating_sub(2);
                format!("{:.digits$} %", 100.0 - 100.0 * 10f64.powi(-(nines as i32)))
            }
        }
    }
}

/// The places of an axis as `plotters` wants them: a linear range, with ticks that are chosen already.
pub(super) struct Places {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Places {
    pub(super) fn new(range: Range<f64>, ticks: Vec<f64>) -> Places {
        Places { range, ticks }
    }
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The least of 1, 2, 5, 10, 20, ... (and of 0.5, 0.2, ...) that is not smaller.
fn round_step(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| round * decade >= step);
    round.unwrap_or(10.0) * decade
}

fn log_ticks(range: &Range<f64>, digits: &[f64]) -> Vec<f64> {
    let decades = range.start.floor() as i32..=range.end.ceil() as i32;
    let ticks = decades.flat_map(|decade| digits.iter().map(move |digit| f64::from(decade) + digit.log10()));
    ticks.filter(|tick| range.contains(tick)).collect()
}

/// A whole number with its thousands apart.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 && digits != "0" {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in few characters: 0.5, 20, 5k, 1.5M.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        million if million >= 999_500.0 => (value / 1e6, "M"),
        thousand if thousand >= 1_000.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        large if large >= 100.0 => 0,
        small if small < 0.1 => 3,
        middle if middle < 1.0 => 2,
        _ => 1,
    };
    let text = format!("{scaled:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_kept_apart() {
        let numbers = [0.0, 999.4, 1000.0, 1234567.0, -1234.0, -0.2, f64::NAN];
        assert_eq!(numbers.map(grouped), ["0", "999", "1,000", "1,234,567", "-1,234", "0", "NaN"]);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.05, 0.25, 1.0, 2.5, 120.0, 1_000.0, 1_500.0, 50_000.0, 999_900.0, 4_300_000.0];
        assert_eq!(numbers.map(short), ["0", "0.05", "0.25", "1", "2.5", "120", "1k", "1.5k", "50k", "1M", "4.3M"]);
    }

    #[test]
    fn ticks_are_at_round_numbers() {
        let linear = Axis::Linear(String::new());
        assert_eq!(linear.ticks(&(0.0..3_800.0)), [0.0, 1_000.0, 2_000.0, 3_000.0]);
        let log = Axis::Log(String::new());
        assert_eq!(log.ticks(&(0.9..2.3)), [1.0, 2.0]);
        let labels: Vec<_> = log.ticks_upright(&(0.9..2.3)).into_iter().map(|tick| log.label(tick)).collect();
        assert_eq!(labels, ["10", "20", "50", "100"]);
        let labels: Vec<_> = log.ticks_upright(&(4.4..4.98)).into_iter().map(|tick| log.label(tick)).collect();
        assert_eq!(labels, ["30k", "50k", "70k"]);
        assert_eq!(log.ticks(&(-0.1..4.1)), [0.0, 1.0, 2.0, 3.0, 4.0]);
        let nines = Axis::Nines(String::new());
        let labels: Vec<_> = nines.ticks(&(0.0..3.9)).into_iter().map(|tick| nines.label(tick)).collect();
        assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let log = Axis::Log(String::new());
        assert_eq!([0.0, -1.0, f64::NAN, 100.0].map(|value| log.place(value)), [None, None, None, Some(2.0)]);
        assert_eq!(Axis::Nines(String::new()).place(1.0), None);
        assert_eq!(log.range(std::iter::empty()), 0.0..1.0);
    }
}

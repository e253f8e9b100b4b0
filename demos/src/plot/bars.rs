//! Horizontal bars: one for each configuration, the best on top or in whichever order they are given.

use plotters::prelude::*;

use super::axis::Places;
use super::{Axis, Error, FONT, GRID, INK, Kind, Plot, WIDTH};

/// Horizontal bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What the plot shows, for those who hear it rather than see it.
    pub title: String,
    /// The values' axis, below the bars. Its name is the caption.
    pub axis: Axis,
    /// A value to which all are compared: a line from top to bottom.
    pub reference: Option<f64>,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Whose it is, to the left of the bar.
    pub name: String,
    /// Its colour.
    pub kind: Kind,
    /// Its length.
    pub value: f64,
    /// The least and the greatest of the rounds, drawn as a whisker.
    pub spread: (f64, f64),
    /// The value in writing.
    pub text: String,
}

/// Height of a bar with the space to the next.
const ROW: u32 = 24;
/// Half of a bar's height, where the distance of two bars is 1.
const THICKNESS: f64 = 0.34;
/// Half of the height of a whisker's ends.
const WHISKER: f64 = 0.16;
/// Room for the axis.
const BELOW: u32 = 28;
/// Room for the names.
const NAMES: u32 = 136;
/// Room for the values in writing.
const VALUES: u32 = 84;

impl Bars {
    /// Draws them. Bars without a place on the axis, such as 0 on a logarithmic one, have no length.
    pub fn plot(&self) -> Result<Plot, Error> {
        let mut svg = String::new();
        if !self.bars.is_empty() {
            self.draw(&mut svg)?;
        }
        Ok(Plot { caption: self.axis.name().to_owned(), title: self.title.clone(), svg, legend: Vec::new() })
    }

    fn draw(&self, svg: &mut String) -> Result<(), Error> {
        let count = self.bars.len();
        let values = self.bars.iter().flat_map(|bar| [bar.value, bar.spread.0, bar.spread.1]);
        let places = values.chain(self.reference).filter_map(|value| self.axis.place(value));
        let mut range = self.axis.range(places);
        if let Axis::Log(_) = self.axis {
            // The smallest bar has a length, too.
            range.start = (range.start - 0.2).floor();
        }
        let area = SVGBackend::with_string(svg, (WIDTH, count as u32 * ROW + BELOW)).into_drawing_area();
        let rows = Places::new(-0.5..count as f64 - 0.5, (0..count).map(|row| row as f64).collect());
        let ticks = self.axis.ticks(&range);
        let mut chart = ChartBuilder::on(&area)
            .margin_right(VALUES)
            .x_label_area_size(BELOW)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(Places::new(range.clone(), ticks), rows)?;
        let name = |row: &f64| {
            let place = (count - 1).saturating_sub(row.round().max(0.0) as usize);
            self.bars.get(place).map(|bar| bar.name.clone()).unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(FONT.into_font().color(&INK))
            .x_label_formatter(&|place| self.axis.label(*place))
            .y_label_formatter(&name)
            .y_labels(count)
            .draw()?;
        for (place, bar) in self.bars.iter().enumerate() {
            let row = (count - 1 - place) as f64;
            let at = |value| self.axis.place(value).unwrap_or(range.start).clamp(range.start, range.end);
            let corners = [(range.start, row - THICKNESS), (at(bar.value), row + THICKNESS)];
            chart.draw_series([Rectangle::new(corners, bar.kind.colours()[0].filled())])?;
            let (low, high) = (at(bar.spread.0), at(bar.spread.1));
            let end = |value| vec![(value, row - WHISKER), (value, row + WHISKER)];
            let whisker = [vec![(low, row), (high, row)], end(low), end(high)];
            chart.draw_series(whisker.map(|line| PathElement::new(line, INK)))?;
            let style = FONT.into_font().color(&INK).pos(text_position());
            let text = EmptyElement::at((range.end, row)) + Text::new(bar.text.clone(), (6, 0), style);
            chart.draw_series([text])?;
        }
        if let Some(place) = self.reference.and_then(|value| self.axis.place(value)) {
            let line = vec![(place, -0.5), (place, count as f64 - 0.5)];
            chart.draw_series([PathElement::new(line, Kind::Loop.colours()[0].stroke_width(1))])?;
        }
        area.present()?;
        Ok(())
    }
}

/// To the right of its point, at the same height.
fn text_position() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Left, VPos::Center)
}

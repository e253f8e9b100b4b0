//! Curves: figures over the number of connections, or latency over quantiles.

use plotters::prelude::*;

use super::axis::Places;
use super::{Axis, Error, FONT, GRID, INK, Kind, Plot, WIDTH};

/// Curves over a common axis.
#[derive(Clone, Debug)]
pub struct Curves {
    /// What is written above it.
    pub caption: String,
    /// What the plot shows, for those who hear it rather than see it.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis on the left.
    pub y: Axis,
    /// Whether each point has a mark of its own.
    pub marks: bool,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Whose it is, for the legend.
    pub name: String,
    /// Its family of colours, and its mark.
    pub kind: Kind,
    /// Values on both axes, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// Height of every plot with curves.
const HEIGHT: u32 = 300;
/// Room for the axis below.
const BELOW: u32 = 46;
/// Room for the axis on the left.
const LEFT: u32 = 66;
/// Half of a mark's height.
const MARK: i32 = 4;

impl Curves {
    /// Draws them. Points without a place on an axis, such as 0 on a logarithmic one, are left out.
    pub fn plot(&self) -> Result<Plot, Error> {
        let colours: Vec<_> = self.curves.iter().enumerate().map(|(place, _)| self.colour(place)).collect();
        let placed: Vec<Vec<(f64, f64)>> = self.curves.iter().map(|curve| self.placed(curve)).collect();
        let mut svg = String::new();
        if placed.iter().any(|points| !points.is_empty()) {
            self.draw(&mut svg, &placed, &colours)?;
        }
        let legend = self.curves.iter().zip(&colours);
        let legend = legend.map(|(curve, colour)| (curve.kind.mark(), *colour, curve.name.clone()));
        Ok(Plot { caption: self.caption.clone(), title: self.title.clone(), svg, legend: legend.collect() })
    }

    fn placed(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let place = |(x, y): &(f64, f64)| Some((self.x.place(*x)?, self.y.place(*y)?));
        curve.points.iter().filter_map(place).collect()
    }

    /// The next colour of the curve's kind.
    fn colour(&self, place: usize) -> RGBColor {
        let kind = self.curves[place].kind;
        let earlier = self.curves[..place].iter().filter(|curve| curve.kind == kind).count();
        let colours = kind.colours();
        colours[earlier % colours.len()]
    }

    fn draw(&self, svg: &mut String, placed: &[Vec<(f64, f64)>], colours: &[RGBColor]) -> Result<(), Error> {
        let points = || placed.iter().flatten();
        let x = self.x.range(points().map(|(x, _)| *x));
        let y = self.y.range(points().map(|(_, y)| *y));
        let (x_ticks, y_ticks) = (self.x.ticks(&x), self.y.ticks_upright(&y));
        let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(10)
            .margin_right(22)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(Places::new(x, x_ticks), Places::new(y, y_ticks))?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(FONT.into_font().color(&INK))
            .x_desc(self.x.name())
            .y_desc(self.y.name())
            .x_label_formatter(&|place| self.x.label(*place))
            .y_label_formatter(&|place| self.y.label(*place))
            .draw()?;
        for ((curve, points), colour) in self.curves.iter().zip(placed).zip(colours) {
            chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(2))])?;
            if !self.marks {
                continue;
            }
            match curve.kind {
                Kind::Ours => chart.draw_series(points.iter().map(|at| Circle::new(*at, MARK, colour.filled())))?,
                Kind::Loop => {
                    chart.draw_series(points.iter().map(|at| TriangleMarker::new(*at, MARK + 1, colour.filled())))?
                }
                Kind::Peer => {
                    chart.draw_series(points.iter().map(|at| Cross::new(*at, MARK, colour.stroke_width(2))))?
                }
            };
        }
        area.present()?;
        Ok(())
    }
}

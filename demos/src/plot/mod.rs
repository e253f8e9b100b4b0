//! Reports as web pages: plots and tables in one file that needs no network and no script.
//!
//! | module | what it is |
//! |---|---|
//! | `page` | the page around it all: headings, text, legends, style |
//! | `bars` | horizontal bars, one for each configuration, with the spread of the rounds |
//! | `curves` | curves, over the number of connections or over quantiles |
//! | `axis` | where the ticks are, and how numbers are written |
//! | `table` | a table, for the page and for plain text |
//! | `destination` | the file that a report goes to |
//!
//! Plots are drawn for the width of a phone, and grow with the window. They are SVG out of `plotters`,
//! with black for all text and one grey for all lines of the grid: the page's style replaces these two
//! where the reader prefers dark pages. All other colours are bright enough for dark pages and dark
//! enough for bright ones.

mod axis;
mod bars;
mod curves;
mod destination;
mod page;
mod table;

use plotters::style::RGBColor;

pub use axis::{Axis, grouped, short};
pub use bars::{Bar, Bars};
pub use curves::{Curve, Curves};
pub use destination::Destination;
pub use page::Page;
pub use table::{Row, Table};

/// Whose figures these are. It chooses the colour, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// This project's engines.
    Ours,
    /// Loops written by hand on the bare kernel interface.
    Loop,
    /// Everybody else.
    Peer,
}

impl Kind {
    /// Every kind, in the order of legends.
    pub const ALL: [Kind; 3] = [Kind::Ours, Kind::Loop, Kind::Peer];

    /// The kind's colours: the first for bars, and one after the other for curves.
    fn colours(self) -> &'static [RGBColor] {
        match self {
            Kind::Ours => &[
                RGBColor(0x2B, 0x7F, 0xC9),
                RGBColor(0x0B, 0x96, 0x7A),
                RGBColor(0x94, 0x5F, 0xD6),
                RGBColor(0x1F, 0xA9, 0xC9),
                RGBColor(0x5B, 0x6B, 0xD8),
            ],
            Kind::Loop => &[
                RGBColor(0xCC, 0x75, 0x1C),
                RGBColor(0xA3, 0x8A, 0x14),
                RGBColor(0xC4, 0x4E, 0x3F),
                RGBColor(0xD4, 0x58, 0x8A),
            ],
            Kind::Peer => &[RGBColor(0x8A, 0x8F, 0x98), RGBColor(0x86, 0xA3, 0x7C), RGBColor(0xA8, 0x8A, 0x78)],
        }
    }

    /// The mark of the kind's curves, as a character for legends.
    fn mark(self) -> char {
        match self {
            Kind::Ours => '●',
            Kind::Loop => '▲',
            Kind::Peer => '✕',
        }
    }

    /// What it is called in legends.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "this project",
            Kind::Loop => "hand-written loops",
            Kind::Peer => "peers",
        }
    }
}

/// A drawn plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What is written above it.
    caption: String,
    /// What is read to those who do not see it.
    title: String,
    /// Empty if there was nothing to draw.
    svg: String,
    /// For each curve its mark, its colour and its name; bars are named in the plot itself.
    legend: Vec<(char, RGBColor, String)>,
}

/// Width of every plot, in the units of its own coordinates: a phone's pixels.
const WIDTH: u32 = 380;
/// All text, and the lines at which bars start. The page's style replaces it.
const INK: RGBColor = RGBColor(0, 0, 0);
/// Lines of the grid. The page's style replaces it.
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// Size of all text. `plotters` divides it by 1.24, which makes 12.9 pixels of it.
const FONT: (&str, u32) = ("sans-serif", 16);

/// Why it cannot be drawn.
type Error = Box<dyn std::error::Error + Send + Sync>;

//! What `demos compare` has found, as a web page.

use demos::plot::{Axis, Bar, Bars, Kind, Page, Plot, Table, grouped};

use super::report::Report;
use crate::load::figures::{Figures, median};
use crate::origin;

/// A figure worth a plot: its title, and how to get at it.
type Plotted = (&'static str, fn(&Figures) -> f64);

const PLOTTED: [Plotted; 5] = [
    ("system calls per request", Figures::calls_in_all),
    ("server CPU per request, ns", |figures| figures.cpu_ns),
    ("requests/s", |figures| figures.requests_per_second),
    ("latency p50, µs", |figures| figures.p50_us),
    ("latency p99, µs", |figures| figures.p99_us),
];

/// The page: for each scenario the plots, and beneath them the table that is also printed.
pub fn html(report: &Report) -> anyhow::Result<String> {
    let mut page = Page::new("Engines compared");
    page.text(
        "An echo server and an HTTP server, each written once, on every engine of this project: level-triggered \
         epoll, edge-triggered epoll, io_uring. Bars are medians, whiskers reach from the least to the greatest \
         round. Fewer system calls, less CPU and less latency are better, more requests/s are better.",
    );
    page.text(&report.note());
    page.text(&origin::sentence());
    page.list(report.missing());
    for (number, (name, rows)) in report.sections().into_iter().enumerate() {
        page.section(&name);
        let plots = if number < report.scenarios.len() {
            let plots = PLOTTED.iter().map(|(title, figure)| {
                let rounds = |place: usize| report.contenders[place].runs[number].iter().map(figure).collect();
                plot(report, &format!("{name}: {title}"), title, &rounds)
            });
            plots.collect::<anyhow::Result<Vec<_>>>()?
        } else {
            let title = "memory of an idle connection, bytes";
            vec![plot(report, title, title, &|place| report.contenders[place].idle_bytes.clone())?]
        };
        page.plots(&plots);
        let engines = report.contenders.iter().map(|contender| contender.engine.name());
        let header = [""].into_iter().chain(engines).map(str::to_owned).collect();
        let mut table = Table { header, words: 1, rows: Vec::new() };
        for row in rows {
            table.row(None, [row.name.trim().to_owned()].into_iter().chain(row.cells));
        }
        page.table(&table);
    }
    Ok(page.html())
}

fn plot(report: &Report, title: &str, axis: &str, rounds: &dyn Fn(usize) -> Vec<f64>) -> anyhow::Result<Plot> {
    let bars = report.contenders.iter().enumerate().map(|(place, contender)| {
        let rounds = rounds(place);
        let value = median(rounds.clone());
        let least = rounds.iter().copied().fold(value, f64::min);
        let greatest = rounds.iter().copied().fold(value, f64::max);
        let name = contender.engine.name().to_owned();
        Bar { name, kind: Kind::Ours, value, spread: (least, greatest), text: shown(value) }
    });
    let bars =
        Bars { title: title.to_owned(), axis: Axis::Linear(axis.to_owned()), reference: None, bars: bars.collect() };
    bars.plot().map_err(anyhow::Error::from_boxed)
}

/// Small numbers need their decimals.
fn shown(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { grouped(value) }
}

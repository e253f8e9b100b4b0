//! What `demos compare` has found, as a web page.

use demos::plot::{Axis, Bar, Bars, Kind, Page, Plot, Table, grouped};

use super::report::{self, Report};
use super::scenarios::SCENARIOS;
use crate::load::figures::{Figures, median};

/// A figure worth a plot: its title, and how to get at it.
type Plotted = (&'static str, fn(&Figures) -> f64);

const PLOTTED: [Plotted; 4] = [
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
         round. Less CPU and less latency is better, more requests/s are better.",
    );
    page.text(&report.note());
    page.list(report.missing());
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        page.section(scenario.name);
        let plots = PLOTTED.iter().map(|(title, figure)| {
            let rounds = |place: usize| report.contenders[place].runs[number].iter().map(figure).collect();
            plot(report, &format!("{}: {title}", scenario.name), title, &rounds)
        });
        page.plots(&plots.collect::<anyhow::Result<Vec<_>>>()?);
        let medians: Vec<_> =
            report.contenders.iter().map(|contender| Figures::median(&contender.runs[number])).collect();
        let mut table = table(report);
        for (name, style, values) in report::rows(&medians) {
            table.row(None, report::row(&name, style, &values).iter().map(|cell| cell.trim()));
        }
        page.table(&table);
    }
    idle(report, &mut page)?;
    Ok(page.html())
}

fn idle(report: &Report, page: &mut Page) -> anyhow::Result<()> {
    page.section("echo, idle connections");
    let title = "memory of an idle connection, bytes";
    page.plots(&[plot(report, title, title, &|place| report.contenders[place].idle_bytes.clone())?]);
    let medians: Vec<_> = report.contenders.iter().map(|contender| median(contender.idle_bytes.clone())).collect();
    let mut table = table(report);
    table.row(None, ["memory, bytes each".to_owned()].into_iter().chain(medians.into_iter().map(grouped)));
    page.table(&table);
    Ok(())
}

/// A table with a column for each engine.
fn table(report: &Report) -> Table {
    let engines = report.contenders.iter().map(|contender| contender.engine.name());
    Table { header: [""].into_iter().chain(engines).map(str::to_owned).collect(), words: 1, rows: Vec::new() }
}

fn plot(report: &Report, title: &str, axis: &str, rounds: &dyn Fn(usize) -> Vec<f64>) -> anyhow::Result<Plot> {
    let bars = report.contenders.iter().enumerate().map(|(place, contender)| {
        let rounds = rounds(place);
        let value = median(rounds.clone());
        let least = rounds.iter().copied().fold(value, f64::min);
        let greatest = rounds.iter().copied().fold(value, f64::max);
        let name = contender.engine.name().to_owned();
        Bar { name, kind: Kind::Ours, value, spread: (least, greatest), text: grouped(value) }
    });
    let bars =
        Bars { title: title.to_owned(), axis: Axis::Linear(axis.to_owned()), reference: None, bars: bars.collect() };
    bars.plot().map_err(anyhow::Error::from_boxed)
}

//! What `demos models` has found, as a web page.

use demos::plot::{Axis, Bar, Bars, Curve, Curves, Page, Plot, grouped};

use super::FOLDER;
use super::report::{Point, Report, Row};
use crate::origin;

/// The rungs whose curves are compared: those that look at every descriptor, and those that don't.
const SCALING: &[&str] = &["busy", "select", "poll", "epoll-level", "reactor-level", "proactor"];
/// All others, by family.
const FAMILIES: [(&str, &[&str]); 4] = [
    ("somebody for each client", &["processes", "threads", "pool"]),
    ("epoll and signals", &["epoll-level", "epoll-edge", "epoll-oneshot", "sigio"]),
    ("io_uring", &["uring-polls", "uring-oneshot", "uring-multishot"]),
    ("the runtimes", &["reactor-level", "reactor-edge", "proactor"]),
];

/// A figure that has bars: its title, and how to get at it.
type Figure = (&'static str, fn(&Row) -> Option<f64>);

const FIGURES: [Figure; 6] = [
    ("server CPU per echo, ns", |row| Some(row.echo.cpu_ns)),
    ("echoes per second", |row| Some(row.echo.requests_per_second)),
    ("system calls per echo", |row| Some(row.calls())),
    ("context switches per echo", |row| Some(row.switches)),
    ("latency p99, µs", |row| Some(row.echo.p99_us)),
    ("memory of an idle connection, bytes", |row| row.idle_bytes),
];

/// The page: the curves, the bars, the table.
pub fn html(report: &Report) -> anyhow::Result<String> {
    let mut page = Page::new("The ladder of I/O models");
    page.text(&format!(
        "The same echo server and the same one-page web server as every step from one client at a time to the two \
         runtimes of this project. The hand-written rungs are files of {FOLDER}, short enough to be read.",
    ));
    page.text(&report.note());
    page.text(&origin::sentence());
    page.list(report.missing());
    page.section("Many connections, one that talks");
    page.text(
        "select and poll hand over every descriptor in each call, and asking in turns asks each of them: an answer costs \
         the more the more others are connected, although they say nothing. epoll and io_uring keep the list in the \
         kernel and pay for what happens. Both axes are logarithmic: a line that rises by a decade per decade pays for \
         each connection.",
    );
    page.plots(&curves(report, SCALING)?);
    page.section("The families");
    let is_measured = |names: &[&str]| report.rows.iter().any(|row| names.contains(&row.rung.name));
    for (title, names) in FAMILIES.into_iter().filter(|(_, names)| is_measured(names)) {
        page.heading(title);
        page.plots(&curves(report, names)?);
    }
    page.section("Under load");
    page.text(
        "Up to 64 clients that send 128 bytes and wait for the echo. Orange are the rungs on the kernel's calls, blue the \
         runtimes. Less is better, but for echoes per second. Some scales are logarithmic.",
    );
    let bars = FIGURES.iter().map(|(title, figure)| bars(report, title, figure));
    page.plots(&bars.collect::<anyhow::Result<Vec<_>>>()?);
    page.section("The table");
    report.tables(|_| true).iter().for_each(|table| page.table(table));
    page.list(report.columns());
    page.heading("What to look at");
    page.list(report.lessons());
    page.section("What to try next");
    page.list(report.next());
    Ok(page.html())
}

/// Cost and latency over the number of connections, of these rungs.
fn curves(report: &Report, names: &[&str]) -> anyhow::Result<[Plot; 2]> {
    let drawn = |title: &str, figure: fn(&Point) -> f64| {
        let rows = report.rows.iter().filter(|row| names.contains(&row.rung.name));
        let curves = rows.map(|row| {
            let points = report.curve.iter().zip(&row.curve);
            let points = points.filter_map(|(connections, point)| Some((*connections as f64, figure(point.as_ref()?))));
            Curve { name: row.rung.name.to_owned(), kind: row.kind(), points: points.collect() }
        });
        let curves = Curves {
            caption: title.to_owned(),
            title: format!("{title}, over the number of connections"),
            x: Axis::Log("connections, all but one idle".to_owned()),
            y: Axis::Log(title.to_owned()),
            marks: true,
            curves: curves.collect(),
        };
        curves.plot().map_err(anyhow::Error::from_boxed)
    };
    Ok([drawn("server CPU per echo, ns", |point| point.cpu_ns)?, drawn("latency p50, µs", |point| point.p50_us)?])
}

fn bars(report: &Report, title: &str, figure: &fn(&Row) -> Option<f64>) -> anyhow::Result<Plot> {
    let bars = report.rows.iter().filter_map(|row| {
        let value = figure(row)?;
        let text = if value < 100.0 { format!("{value:.2}") } else { grouped(value) };
        Some(Bar { name: row.rung.name.to_owned(), kind: row.kind(), value, spread: (value, value), text })
    });
    // What differs by decades is drawn by decades.
    let values: Vec<_> = report.rows.iter().filter_map(figure).filter(|value| *value > 0.0).collect();
    let (least, most) =
        values.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    let axis = if most > least * 50.0 { Axis::Log(title.to_owned()) } else { Axis::Linear(title.to_owned()) };
    let bars = Bars { title: title.to_owned(), axis, reference: None, bars: bars.collect() };
    bars.plot().map_err(anyhow::Error::from_boxed)
}

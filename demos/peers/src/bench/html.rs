//! The report as a web page: plots, and beneath them the tables.

use anyhow::Context;
use demos::plot::{Axis, Bar, Bars, Curve, Curves, Page, Plot, grouped};

use super::plan::{BASE, CURVE_SERVERS, kind};
use super::results::{Figure, Measured, Results, Run, Summary};
use super::runner::MOST_STOLEN;
use super::{goals, tables, text};

/// What the first table of all scenarios shows.
pub const ABOUT_CPU: &str = "Processor time per request of epoll-edge over that of the server, same round. More than \
    1 is better than the hand-written edge-triggered epoll loop.";
/// What stands above the table of the least.
pub const ABOUT_LEAST: &str = "The same of the least processor time that each needed in any round. What disturbs a \
    machine only adds, so on a noisy one this shows better than the medians what the programs themselves cost; but \
    it is one round of each.";
/// And the second.
pub const ABOUT_SPEED: &str = "Requests/s of the server over those of epoll-edge, same round. They compare servers \
    only where these are busy all the time.";

/// The whole page.
pub fn report(results: &Results) -> anyhow::Result<String> {
    let mut page = Page::new("Peers compared");
    page.text(text::INTRODUCTION);
    page.text(&format!("{} {}", verdict(results), conditions(results)));
    page.list(tables::problems(results));
    add_goals(results, &mut page);
    page.section("All in one table");
    page.text(ABOUT_CPU);
    page.table(&tables::overview(results, tables::median_ratio));
    page.text(ABOUT_LEAST);
    page.table(&tables::overview(results, tables::least_ratio));
    page.text(ABOUT_SPEED);
    page.table(&tables::overview(results, tables::speed_ratio));
    for measured in results.scenarios.iter().filter(|measured| !tables::is_curve_only(&measured.scenario)) {
        add_scenario(results, measured, &mut page).with_context(|| measured.scenario.clone())?;
    }
    add_curves(results, &mut page)?;
    add_idle(results, &mut page)?;
    add_micro(results, &mut page)?;
    page.section("Method");
    for paragraph in text::METHOD {
        page.text(paragraph);
    }
    page.section("Machine");
    page.list(results.machine.lines());
    if !text::LEFT_OUT.is_empty() {
        page.section("Measured and left out");
        page.list(text::LEFT_OUT);
    }
    Ok(page.html())
}

/// How many goals are met.
pub fn verdict(results: &Results) -> String {
    let (met, not_met, not_measured) = goals::count(results);
    let rest = if not_measured > 0 { format!(" {not_measured} more were not measured.") } else { String::new() };
    format!("{met} of {} goals are met, {not_met} are not.{rest}", met + not_met)
}

/// How quiet it was.
pub fn conditions(results: &Results) -> String {
    let (worst, runs) = results.stolen(MOST_STOLEN);
    let shared = if results.is_pinned { "" } else { " There was one processor only, which server and client shared." };
    let stolen = match runs {
        0 => "Nobody took the processors away for more than 2 % of any run.".to_owned(),
        _ => format!(
            "In {} the hypervisor took more than 2 % of the time, up to {:.0} %.",
            tables::counted(runs, "run"),
            worst * 100.0
        ),
    };
    let waited = match results.waited() {
        Some(waited) if waited.median > MOST_STOLEN => format!(
            " Other programs were running: in the middle run, the server waited for its processor for {:.0} % of the \
             time. Do not trust these figures.",
            waited.median * 100.0
        ),
        _ => String::new(),
    };
    format!("{}. {stolen}{waited}{shared}", tables::counted(results.rounds, "round"))
}

fn add_goals(results: &Results, page: &mut Page) {
    page.section("Goals");
    for (family, table) in tables::goals(results) {
        page.heading(family.about);
        page.text(family.measure.about());
        page.table(&table);
    }
}

fn add_scenario(results: &Results, measured: &Measured, page: &mut Page) -> anyhow::Result<()> {
    let name = &measured.scenario;
    let title = tables::title(name);
    page.section(title);
    page.kinds();
    let by_cpu = measured.by_cpu();
    let cpu = by_cpu.iter().map(|(server, cpu)| bar(server, cpu, grouped(cpu.median))).collect();
    let reference = results.summary(name, BASE, Run::cpu).map(|summary| summary.median);
    let axis = "server CPU per request, ns: less is better";
    let mut plots = vec![bars(title, axis, reference, cpu)?];
    let mut speeds: Vec<_> = measured.servers.iter().map(|runs| runs.server.as_str()).collect();
    let speed = |server: &str| results.summary(name, server, Run::requests_per_second);
    speeds.sort_by(|one, other| {
        let median = |server: &str| speed(server).map_or(0.0, |speed| speed.median);
        median(other).total_cmp(&median(one))
    });
    let speeds = speeds
        .into_iter()
        .filter_map(|server| Some(bar(server, &speed(server)?, tables::requests_per_second(results, name, server))));
    let axis = "requests/s, in brackets if not the server's limit";
    plots.push(bars(title, axis, speed(BASE).map(|speed| speed.median), speeds.collect())?);
    plots.push(distribution(title, measured)?);
    page.plots(&plots);
    page.table(&tables::scenario(results, measured));
    Ok(())
}

/// Latency over quantiles, of those servers that are drawn as curves.
fn distribution(title: &str, measured: &Measured) -> anyhow::Result<Plot> {
    let curve = |server: &&str| {
        let points = measured.distribution(server).into_iter().map(|(quantile, ns)| (quantile, ns / 1e3));
        let points: Vec<_> = points.collect();
        (!points.is_empty()).then(|| Curve { name: (*server).to_owned(), kind: kind(server), points })
    };
    let mut names = CURVE_SERVERS.to_vec();
    // Spinning is all about latency.
    names.extend(measured.servers.iter().map(|runs| runs.server.as_str()).filter(|name| name.ends_with("-spin")));
    let curves = Curves {
        caption: "latency by quantile: lower is better".to_owned(),
        title: format!("{title}: latency by quantile"),
        x: Axis::Nines("answers that came faster".to_owned()),
        y: Axis::Log("latency, µs".to_owned()),
        marks: false,
        curves: names.iter().filter_map(curve).collect(),
    };
    drawn(curves.plot())
}

/// A figure over the number of connections: its title, how to get at it, and its scale.
type OverConnections = (&'static str, Figure, fn(String) -> Axis);

const CURVES: [OverConnections; 3] = [
    ("server CPU per request, ns", Run::cpu, Axis::Linear),
    ("requests/s", Run::requests_per_second, Axis::Linear),
    ("latency p99, µs", Run::p99, Axis::Log),
];

fn add_curves(results: &Results, page: &mut Page) -> anyhow::Result<()> {
    page.section("Over the number of connections");
    page.text(
        "Echo of 64 B: the more connections, the more requests are handled per system call, until they and their \
         buffers no longer fit into the processor's caches.",
    );
    let mut plots = Vec::new();
    for (title, figure, axis) in CURVES {
        let curve = |server: &&str| {
            let point = |scenario: &'static super::plan::Scenario| {
                let summary = results.summary(scenario.name, server, figure)?;
                Some((f64::from(scenario.connections), summary.median))
            };
            let points: Vec<_> = tables::curve_points(results).filter_map(point).collect();
            (!points.is_empty()).then(|| Curve { name: (*server).to_owned(), kind: kind(server), points })
        };
        let curves = Curves {
            caption: title.to_owned(),
            title: format!("{title}, over the number of connections"),
            x: Axis::Log("connections".to_owned()),
            y: axis(title.to_owned()),
            marks: true,
            curves: CURVE_SERVERS.iter().filter_map(curve).collect(),
        };
        plots.push(drawn(curves.plot())?);
    }
    page.plots(&plots);
    for (title, figure, _) in CURVES {
        page.heading(title);
        page.table(&tables::curve(results, figure));
    }
    Ok(())
}

fn add_idle(results: &Results, page: &mut Page) -> anyhow::Result<()> {
    page.section("Memory of an idle connection");
    page.text(
        "Resident memory of the server for each connection that has exchanged one message and then waits. What the \
         kernel keeps for a socket is the same for all, and not in it.",
    );
    let idle = tables::idle(results);
    let bars = idle.iter().map(|(server, bytes)| bar(server, bytes, grouped(bytes.median))).collect();
    let bars = Bars {
        title: "memory of an idle connection".to_owned(),
        axis: Axis::Log("bytes: less is better".to_owned()),
        reference: None,
        bars,
    };
    page.plots(&[drawn(bars.plot())?]);
    page.table(&tables::idle_table(results));
    Ok(())
}

fn add_micro(results: &Results, page: &mut Page) -> anyhow::Result<()> {
    page.section("Microbenchmarks");
    page.text("What tasks, timers and wakes cost without any I/O. The scale is logarithmic: less is better.");
    let mut plots = Vec::new();
    for (benchmark, unit) in tables::benchmarks(results) {
        let figures = results.micro.iter().filter(|figure| figure.benchmark == benchmark);
        let mut figures: Vec<_> = figures.map(|figure| (figure, Summary::from(figure))).collect();
        figures.sort_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        let bars =
            figures.iter().map(|(figure, summary)| bar(&figure.runtime, summary, tables::decimal(summary.median)));
        let axis = Axis::Log(format!("{benchmark}, {unit}"));
        let bars = Bars { title: benchmark.to_owned(), axis, reference: None, bars: bars.collect() };
        plots.push(drawn(bars.plot())?);
    }
    page.plots(&plots);
    page.table(&tables::micro(results));
    Ok(())
}

fn bar(name: &str, summary: &Summary, text: String) -> Bar {
    let spread = (summary.least, summary.greatest);
    Bar { name: name.to_owned(), kind: kind(name), value: summary.median, spread, text }
}

fn bars(title: &str, axis: &str, reference: Option<f64>, bars: Vec<Bar>) -> anyhow::Result<Plot> {
    let bars = Bars { title: format!("{title}: {axis}"), axis: Axis::Linear(axis.to_owned()), reference, bars };
    drawn(bars.plot())
}

/// The plot, or why it cannot be drawn.
pub fn drawn(plot: Result<Plot, Box<dyn std::error::Error + Send + Sync>>) -> anyhow::Result<Plot> {
    plot.map_err(anyhow::Error::from_boxed).context("a plot cannot be drawn")
}

//! What `demos models` has found, as a table and as JSON.

use std::time::Duration;

use demos::plot::{Kind, Table, grouped};
use demos::text::filled;
use serde_json::{Value, json};

use super::{FOLDER, Rung};
use crate::load::figures::{Figures, build_note};

/// Connections that talk at the same time under load.
pub const LOAD: usize = 64;
/// Points of the curve that a terminal has room for.
const SHOWN: [usize; 4] = [1, 64, 1_000, 10_000];
/// A machine on which others take less than this part of the time counts as quiet.
const QUIET: f64 = 0.05;

/// All figures.
#[derive(Default)]
pub struct Report {
    /// One for each rung, from the bottom up.
    pub rows: Vec<Row>,
    /// Rungs that cannot run here, and why.
    pub missing: Vec<(&'static str, String)>,
    /// Connections of the curve's points, and those for which there are no descriptors.
    pub curve: Vec<usize>,
    pub beyond: Vec<usize>,
    /// Answers that were checked, all of them right.
    pub answers: u64,
    /// Whether server and client had a processor each.
    pub is_pinned: bool,
    /// The length of all runs, and how long the client waited for its processor meanwhile.
    pub measured: Duration,
    pub waited: Duration,
}

/// The figures of a rung.
pub struct Row {
    pub rung: &'static Rung,
    /// Connections under load.
    pub connections: usize,
    pub echo: Figures,
    /// Switches per echo.
    pub switches: f64,
    pub web: Figures,
    /// Memory of an idle connection.
    pub idle_bytes: Option<f64>,
    /// A point for each of [`Report::curve`], if the rung serves so many.
    pub curve: Vec<Option<Point>>,
}

/// One connection that talks among others that don't.
#[derive(Clone, Copy)]
pub struct Point {
    pub cpu_ns: f64,
    pub p50_us: f64,
}

impl Row {
    /// System calls per echo.
    pub fn calls(&self) -> f64 {
        self.echo.calls.values().sum()
    }

    /// Whose figures these are: of our runtimes, or of a loop.
    pub fn kind(&self) -> Kind {
        if self.rung.is_runtime() { Kind::Ours } else { Kind::Loop }
    }
}

impl Report {
    /// The tables and what they mean.
    pub fn text(&self, width: usize) -> String {
        let missing = self.missing();
        let list = |lines: &[String]| lines.iter().map(|line| format!("\n- {line}")).collect::<String>();
        let tables = self.tables(|connections| SHOWN.contains(&connections));
        let are_boxed = tables.iter().all(|table| table.fits(width));
        let [load, crowd] = tables.map(|table| if are_boxed { table.terminal(width) } else { table.plain(width) });
        let prose = format!(
            "{}\n\nColumns:{}\n\nWhat to look at:{}\n\nWhat to try next:{}{}",
            self.note(),
            list(&self.columns()),
            list(&self.lessons()),
            list(&self.next()),
            if missing.is_empty() { String::new() } else { format!("\n\nLeft out:{}", list(&missing)) }
        );
        format!("{load}\n\n{crowd}\n\n{}", filled(&prose, width))
    }

    /// The tables, one line for each rung: what many busy clients cost, and what idle ones do, with those points of the
    /// curve that are to be shown.
    pub fn tables(&self, is_shown: impl Fn(usize) -> bool) -> [Table; 2] {
        let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), grouped);
        let header = ["model", "clients", "echo/s", "CPU ns", "calls", "switches", "p50 µs", "p99 µs", "page/s"];
        let mut load = Table::new(1, header);
        let shown = self.curve.iter().filter(|connections| is_shown(**connections));
        let curve = shown.map(|connections| format!("ns of {}", grouped(*connections as f64)));
        let header = ["model", "lines", "idle bytes"].map(str::to_owned).into_iter().chain(curve).collect();
        let mut crowd = Table { header, words: 1, rows: Vec::new() };
        for row in &self.rows {
            let cells = [
                row.rung.name.to_owned(),
                row.connections.to_string(),
                grouped(row.echo.requests_per_second),
                grouped(row.echo.cpu_ns),
                format!("{:.2}", row.calls()),
                format!("{:.2}", row.switches),
                grouped(row.echo.p50_us),
                grouped(row.echo.p99_us),
                grouped(row.web.requests_per_second),
            ];
            load.row(Some(row.kind()), cells);
            let points = self.curve.iter().zip(&row.curve).filter(|(connections, _)| is_shown(**connections));
            let curve = points.map(|(_, point)| some(point.map(|point| point.cpu_ns)));
            let cells = [row.rung.name.to_owned(), row.rung.lines().to_string(), some(row.idle_bytes)];
            crowd.row(Some(row.kind()), cells.into_iter().chain(curve));
        }
        [load, crowd]
    }

    /// How it was measured, and in which units.
    pub fn note(&self) -> String {
        let cores = if self.is_pinned { "on one processor, the client on another" } else { "beside the client" };
        let disturbed = match self.disturbed() {
            Some(part) if part > QUIET => format!(
                " Other programs took the client's processor away for {:.0} % of the time: compare CPU and bytes, \
                 which suffer less, rather than answers per second and latency.",
                part * 100.0
            ),
            _ => String::new(),
        };
        let beyond: Vec<_> = self.beyond.iter().map(|connections| grouped(*connections as f64)).collect();
        let beyond = match &beyond[..] {
            [] => String::new(),
            beyond => format!(
                " Not measured with {} connections: the limit of open files is too low (`ulimit -n`).",
                beyond.join(" and ")
            ),
        };
        let build = build_note().map_or_else(String::new, |note| format!(" {note}"));
        format!(
            "{} answers, every byte checked; each server {cores}.{beyond}{disturbed}{build}",
            grouped(self.answers as f64)
        )
    }

    /// What the columns hold, and in which units.
    pub fn columns(&self) -> Vec<String> {
        let load = format!(
            "clients: so many talk at once, {LOAD} or as many as the model serves. Each sends 128 bytes and waits for the echo."
        );
        [
            &load,
            "echo/s: echoes per second. CPU ns: processor time of the server for each, in nanoseconds.",
            "calls, switches: system calls and context switches of the server for each echo. One waiting call serves all \
             clients that became ready in the meantime. Their number depends on the timing of client and server, so this \
             figure may be several times as large in the next run.",
            "p50, p99: half of the answers came within p50, and 99 of 100 within p99.",
            "page/s: pages per second, with the web server instead of the echo.",
            "idle bytes: the server's memory for a connection that says nothing; the kernel's is not counted.",
            "lines: lines of code of the rung's file.",
            "ns of N: CPU ns when N are connected and one of them talks. -: the model does not serve so many.",
        ]
        .map(str::to_owned)
        .into()
    }

    /// What a reader should see in the table.
    pub fn lessons(&self) -> Vec<String> {
        let of = |name: &str| self.rows.iter().find(|row| row.rung.name == name);
        let growth = |name: &str| {
            let points: Vec<_> = of(name)?.curve.iter().flatten().collect();
            let (first, last) = (points.first()?, points.last()?);
            (points.len() > 1).then(|| format!("{name} {:.1}×", last.cpu_ns / first.cpu_ns))
        };
        let join = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let figure = |name: &str, what: &dyn Fn(&Row) -> Option<String>| {
            of(name).and_then(|row| Some(format!("{name} {}", what(row)?)))
        };
        let grows = join(["busy", "select", "poll", "epoll-level", "uring-multishot", "proactor"].map(growth).into());
        let calls = |row: &Row| Some(format!("{:.2}", row.calls()));
        let names = ["poll", "epoll-level", "epoll-oneshot", "uring-polls", "uring-multishot", "proactor"];
        let calls = join(names.map(|name| figure(name, &calls)).into());
        let bytes = |row: &Row| row.idle_bytes.map(grouped);
        let names = ["processes", "threads", "epoll-level", "uring-oneshot", "uring-multishot"];
        let bytes = join(names.map(|name| figure(name, &bytes)).into());
        let lessons = [
            (
                "ns of N, from left to right: a model that looks at every descriptor pays for each of them. Last to first",
                grows,
            ),
            ("calls: readiness takes one to receive and one to send, completion shares one among many", calls),
            ("idle bytes: what waits for a client is a process, a thread, a buffer, or next to nothing", bytes),
        ];
        let seen = lessons.into_iter().filter(|(_, figures)| !figures.is_empty());
        seen.map(|(lesson, figures)| format!("{lesson} ({figures}).")).collect()
    }

    /// What to do with this.
    pub fn next(&self) -> Vec<String> {
        let mut next = vec![
            format!(
                "Read the rungs in turn, {FOLDER}/blocking.rs first: each names the next. `demos models list` shows all."
            ),
            "Talk to one: `demos models serve pool --max-connections 2`, then `nc 127.0.0.1 8080` in five terminals."
                .to_owned(),
        ];
        if self.curve.last().is_some_and(|last| *last < 10_000) && self.beyond.is_empty() {
            next.push("Draw the curve up to 10,000 connections: `demos models --long --html models.html`.".to_owned());
        }
        next
    }

    /// Rungs that did not take part, each with the reason.
    pub fn missing(&self) -> Vec<String> {
        self.missing.iter().map(|(name, reason)| format!("{name}: {reason}. `demos doctor` tells more.")).collect()
    }

    fn disturbed(&self) -> Option<f64> {
        let is_known = self.is_pinned && !self.measured.is_zero();
        is_known.then(|| (self.waited.as_secs_f64() / self.measured.as_secs_f64()).min(1.0))
    }

    /// Everything.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let points = self.curve.iter().zip(&row.curve).filter_map(|(connections, point)| {
                let Point { cpu_ns, p50_us } = (*point)?;
                Some(json!({ "connections": connections, "server_cpu_ns_per_request": cpu_ns, "p50_us": p50_us }))
            });
            json!({
                "model": row.rung.name,
                "file": format!("{FOLDER}/{}", row.rung.file),
                "lines": row.rung.lines(),
                "connections": row.connections,
                "echo": row.echo.json(),
                "context_switches_per_echo": row.switches,
                "web": row.web.json(),
                "bytes_per_idle_connection": row.idle_bytes,
                "curve": points.collect::<Vec<_>>(),
            })
        });
        let missing = self.missing.iter().map(|(name, reason)| json!({ "model": name, "reason": reason }));
        json!({
            "answers_checked": self.answers,
            "pinned": self.is_pinned,
            "disturbed": self.disturbed(),
            "models": rows.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
        })
    }
}

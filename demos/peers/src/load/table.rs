//! The outcome of a run for people to read.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};

use super::{Load, Outcome};

/// All figures, one in a row.
pub fn table(load: &Load, outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    for (name, value) in rows(outcome) {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let seconds = outcome.elapsed_ns as f64 / 1e9;
    let mut text = format!("{table}\n{} requests in {seconds:.3} s, every byte checked.", grouped(outcome.requests));
    if outcome.overload > 0 {
        text += &format!(
            "\nOverload: {} requests were due but not sent, since all connections were waiting. The latencies \
             are of those that were sent. Give a lower --rate or more --connections.",
            grouped(outcome.overload)
        );
    }
    if load.block {
        text += "\nThe client slept when it had nothing to do, and the server paid for waking it.";
    }
    text
}

fn rows(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let requests = outcome.requests as f64;
    let microseconds = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    let per_request = |count: u64| count as f64 / requests;
    let share = |cpu_ns: u64| format!("{:.0} %", cpu_ns as f64 / outcome.elapsed_ns as f64 * 100.0);
    let latency = &outcome.latency_ns;
    let mut rows = vec![
        ("requests/s", grouped((requests / outcome.elapsed_ns as f64 * 1e9).round() as u64)),
        ("connections", grouped(outcome.connections)),
        ("latency, µs: min", microseconds(latency.min)),
        ("p50", microseconds(latency.p50)),
        ("p90", microseconds(latency.p90)),
        ("p99", microseconds(latency.p99)),
        ("p99.9", microseconds(latency.p99_9)),
        ("max", microseconds(latency.max)),
    ];
    if let Some(cpu) = outcome.server_cpu_ns {
        rows.push(("server CPU, ns per request", grouped(per_request(cpu).round() as u64)));
        rows.push(("server CPU, of one core", share(cpu)));
    }
    if let Some(switches) = outcome.server_voluntary_switches {
        rows.push(("server sleeps per request", format!("{:.3}", per_request(switches))));
    }
    if let Some(rss) = outcome.server_rss_bytes {
        rows.push(("server memory, KiB", grouped(rss / 1024)));
    }
    if let Some(bytes) = outcome.idle_bytes_per_connection {
        rows.push(("server memory, bytes per idle connection", format!("{bytes:.0}")));
    }
    rows.push(("client CPU, of one core", share(outcome.client_cpu_ns)));
    rows
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Writes a line, or several, to stdout. It is no error that nobody reads it.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

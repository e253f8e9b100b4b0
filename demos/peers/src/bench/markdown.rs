//! The report as Markdown: the tables, goals first.

use std::fmt::{Display, Write as _};

use super::results::{Results, Run};
use super::{html, tables, text};

/// The whole report.
pub fn report(results: &Results) -> String {
    let mut report = String::new();
    add(&mut report, "# Peers compared");
    add(&mut report, text::INTRODUCTION);
    add(&mut report, "## Goals");
    add(&mut report, format_args!("{} {}", html::verdict(results), html::conditions(results)));
    for (family, table) in tables::goals(results) {
        add(&mut report, format_args!("{} {}:", family.about, family.measure.about()));
        add(&mut report, table.markdown());
    }
    add(&mut report, "## All in one table");
    add(&mut report, html::ABOUT_CPU);
    add(&mut report, tables::overview(results, tables::median_ratio).markdown());
    add(&mut report, html::ABOUT_LEAST);
    add(&mut report, tables::overview(results, tables::least_ratio).markdown());
    add(&mut report, html::ABOUT_SPEED);
    add(&mut report, tables::overview(results, tables::speed_ratio).markdown());
    for measured in results.scenarios.iter().filter(|measured| !tables::is_curve_only(&measured.scenario)) {
        add(&mut report, format_args!("## {} ({})", tables::title(&measured.scenario), measured.scenario));
        add(&mut report, tables::scenario(results, measured).markdown());
    }
    add(&mut report, "## Over the number of connections");
    add(&mut report, "Echo of 64 B. Processor time per request, ns:");
    add(&mut report, tables::curve(results, Run::cpu).markdown());
    add(&mut report, "Latency p99, µs:");
    add(&mut report, tables::curve(results, Run::p99).markdown());
    add(&mut report, "## Memory of an idle connection");
    add(&mut report, tables::idle_table(results).markdown());
    add(&mut report, "## Microbenchmarks");
    add(&mut report, tables::micro(results).markdown());
    add(&mut report, "## Method");
    for paragraph in text::METHOD {
        add(&mut report, paragraph);
    }
    list(&mut report, "## Machine", results.machine.lines());
    list(&mut report, "## Measured and left out", text::LEFT_OUT);
    list(&mut report, "## Not in the figures", tables::problems(results));
    report.trim_end().to_owned() + "\n"
}

fn add(report: &mut String, part: impl Display) {
    // Writing to a string does not fail.
    let _ = write!(report, "{part}\n\n");
}

/// A list under its title, or nothing if it is empty.
fn list<T: AsRef<str>>(report: &mut String, title: &str, items: impl AsRef<[T]>) {
    if !items.as_ref().is_empty() {
        let items: Vec<_> = items.as_ref().iter().map(|item| format!("- {}", item.as_ref())).collect();
        add(report, format_args!("{title}\n\n{}", items.join("\n")));
    }
}

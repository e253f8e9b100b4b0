//! The figures, and the forms of their report.

use std::fmt::Write as _;

use demos::plot::{Axis, Bar, Bars, Page, Table, grouped};
use serde::{Deserialize, Serialize};

use crate::bench::machine::Machine;
use crate::bench::plan::kind;
use crate::bench::{drawn, tables};

/// All that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub valgrind: String,
    pub figures: Vec<Figure>,
    pub left_out: Vec<LeftOut>,
}

/// What one request costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub server: String,
    pub scenario: String,
    /// Out of so many.
    pub requests: u64,
    pub instructions: f64,
    pub system_calls: f64,
    pub allocations: f64,
}

/// What could not be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    pub server: String,
    pub scenario: String,
    pub reason: String,
}

const TITLE: &str = "Instructions";

/// What the figures are.
const ABOUT: &str = "What one request executes in user space, counted by callgrind. The kernel's part is not in it. The \
    figures depend on the compiler and on the C library, and hardly on the machine: they do not change with its load or \
    its speed.";

/// How they come about.
const METHOD: &str = "All connections ask in lockstep. While they send, the server is stopped, so it finds all requests \
    at once in every turn. The first third of the turns is not counted; the counts of the others are divided by the \
    number of requests. A server with a single connection is never stopped. Allocations are calls of `malloc`, `calloc`, \
    `realloc` and their aligned forms.";

/// The kinds of figures: title, figure, form.
type Part = (&'static str, fn(&Figure) -> f64, fn(f64) -> String);

const PARTS: [Part; 3] = [
    ("Instructions per request", |figure| figure.instructions, grouped),
    ("System calls per request", |figure| figure.system_calls, two_decimals),
    ("Allocations per request", |figure| figure.allocations, two_decimals),
];

fn two_decimals(value: f64) -> String {
    format!("{value:.2}")
}

impl Report {
    /// The tables, for the terminal.
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        for part in PARTS.iter().filter(|_| !self.figures.is_empty()) {
            text += &format!("{}\n{}\n", part.0, self.table(part).terminal(usize::MAX));
        }
        for problem in self.problems() {
            text += &(problem + "\n");
        }
        text
    }

    /// A section for a longer report.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {TITLE}\n\n{ABOUT}\n\n{METHOD}\n");
        for part in &PARTS {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{}:\n\n{}\n", part.0, self.table(part).markdown());
        }
        for line in self.problems().into_iter().chain(self.conditions()) {
            let _ = write!(text, "\n- {line}");
        }
        text + "\n"
    }

    /// A page with plots.
    pub fn html(&self) -> anyhow::Result<String> {
        let mut page = Page::new(TITLE);
        page.text(ABOUT);
        page.text(METHOD);
        page.list(self.problems());
        page.section(PARTS[0].0);
        page.kinds();
        let plots: Result<Vec<_>, _> =
            self.scenarios().iter().map(|scenario| drawn(self.bars(scenario).plot())).collect();
        page.plots(&plots?);
        page.table(&self.table(&PARTS[0]));
        for part in &PARTS[1..] {
            page.section(part.0);
            page.table(&self.table(part));
        }
        page.section("Conditions");
        page.list(self.conditions());
        Ok(page.html())
    }

    /// A line for each server, a column for each scenario.
    fn table(&self, (_, figure, text): &Part) -> Table {
        let scenarios = self.scenarios();
        let header = ["server"].iter().chain(&scenarios).map(|word| (*word).to_owned()).collect();
        let mut table = Table { header, words: 1, rows: Vec::new() };
        for server in distinct(self.figures.iter().map(|figure| &figure.server)) {
            let cell = |scenario: &&str| {
                let mut figures = self.figures.iter();
                let found = figures.find(|figure| figure.server == server && figure.scenario == **scenario);
                found.map_or(tables::NONE.to_owned(), |found| text(figure(found)))
            };
            let cells = scenarios.iter().map(cell);
            table.row(Some(kind(server)), [server.to_owned()].into_iter().chain(cells));
        }
        table
    }

    fn bars(&self, scenario: &str) -> Bars {
        let mut figures: Vec<_> = self.figures.iter().filter(|figure| figure.scenario == scenario).collect();
        figures.sort_by(|one, other| one.instructions.total_cmp(&other.instructions));
        let bar = |figure: &&Figure| Bar {
            name: figure.server.clone(),
            kind: kind(&figure.server),
            value: figure.instructions,
            spread: (figure.instructions, figure.instructions),
            text: grouped(figure.instructions),
        };
        let title = tables::title(scenario).to_owned();
        Bars { axis: Axis::Linear(title.clone()), title, reference: None, bars: figures.iter().map(bar).collect() }
    }

    fn scenarios(&self) -> Vec<&str> {
        distinct(self.figures.iter().map(|figure| &figure.scenario))
    }

    fn problems(&self) -> Vec<String> {
        let line = |left: &LeftOut| format!("{}, {}: {}", left.server, left.scenario, left.reason);
        self.left_out.iter().map(line).collect()
    }

    fn conditions(&self) -> Vec<String> {
        let mut lines = self.machine.lines();
        lines.push(format!("Counted by: {}", self.valgrind));
        lines
    }
}

/// Each of these once, in the order in which they come.
fn distinct<'a>(words: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for word in words {
        if !distinct.contains(&word.as_str()) {
            distinct.push(word);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_every_figure_and_what_is_missing() {
        let figure = |server: &str, scenario: &str, instructions| Figure {
            server: server.to_owned(),
            scenario: scenario.to_owned(),
            requests: 6400,
            instructions,
            system_calls: 2.03,
            allocations: 0.5,
        };
        let left = LeftOut {
            server: "peer".to_owned(),
            scenario: "echo-64".to_owned(),
            reason: "not under valgrind: it crashed".to_owned(),
        };
        let report = Report {
            machine: Machine::new(),
            valgrind: "valgrind-3".to_owned(),
            figures: vec![figure("uring", "echo-64", 1234.4), figure("tokio", "http-64", 99.0)],
            left_out: vec![left],
        };
        let forms = [report.terminal(), report.markdown(), report.html().unwrap()];
        for form in &forms {
            let words = ["uring", "tokio", "echo-64", "http-64", "1,234", "99", "2.03", "0.50"];
            for word in words.into_iter().chain(["peer, echo-64: not under valgrind: it crashed", tables::NONE]) {
                assert!(form.contains(word), "{word} is missing in {form}");
            }
        }
        assert!(forms[1].starts_with("## Instructions\n") && forms[1].contains("valgrind-3"), "{}", forms[1]);
    }
}

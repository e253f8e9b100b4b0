//! `peers run`: every server in every scenario, and a report.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan.rs` | the scenarios, who takes part, how long it takes |
//! | `runner.rs` | runs the plan, round by round |
//! | `process.rs`, `cores.rs` | the processes, and the processors they run on |
//! | `results.rs` | what was measured, and the medians and ratios that come of it |
//! | `goals.rs` | the goals, as a table |
//! | `tables.rs`, `text.rs` | what every form of the report has |
//! | `html.rs`, `markdown.rs` | the forms of the report |
//! | `machine.rs` | what it was measured on |

mod cores;
mod goals;
mod html;
pub mod machine;
mod markdown;
pub mod plan;
pub mod process;
mod results;
mod runner;
pub mod tables;
mod text;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use demos::plot::Destination;

pub use html::drawn;
use plan::{Choice, Plan};
use results::{FORMAT, Results};

/// Where the reports go if nothing else is said: those of everything, and those of the quick look. Runs of
/// a choice leave both alone.
const ALL: &str = "peers-report";
const QUICK: &str = "peers-quick";

/// Measures every server in every scenario, and writes a report.
///
/// It takes about 20 minutes; `--quick` takes less than two. Nothing else should run
/// on the machine meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  peers run                                    everything
  peers run --quick --html quick.html          the most important of it
  peers run --servers epoll-edge,reactor-edge --scenarios echo-64 --rounds 11
  peers run --scenarios micro                  only the microbenchmarks
  peers run --from peers-report.json           write the report again, without measuring")]
pub struct RunArgs {
    /// Fewer servers, scenarios and rounds.
    #[arg(long)]
    quick: bool,

    /// How often every server runs in every scenario. Default: 9, with --quick 3.
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<usize>,

    /// Only these servers; the microbenchmarks are left out then.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    servers: Vec<String>,

    /// Only these scenarios. The microbenchmarks are the scenario `micro`.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    scenarios: Vec<String>,

    /// Where the page with plots and tables goes. Default: peers-report.html, with --quick
    /// peers-quick.html, and nowhere if servers or scenarios are chosen.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Where all figures go. The default is like that of --html.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Also write the tables as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Measure nothing, but write the report from the figures that an earlier run has saved.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "rounds", "servers", "scenarios", "json"])]
    from: Option<PathBuf>,
}

/// The files that reports go to.
struct Destinations {
    html: Option<(PathBuf, Destination)>,
    json: Option<(PathBuf, Destination)>,
    markdown: Option<(PathBuf, Destination)>,
}

/// `peers run`.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let results = match &args.from {
        Some(file) => {
            let results = read(file)?;
            let destinations = Destinations::open(args)?;
            destinations.write(&results)?;
            results
        }
        None => {
            let plan = Plan::new(&Choice {
                is_quick: args.quick,
                rounds: args.rounds,
                servers: args.servers.clone(),
                scenarios: args.scenarios.clone(),
            })?;
            let destinations = Destinations::open(args)?;
            let results = runner::run(plan)?;
            print(&results);
            destinations.write(&results)?;
            results
        }
    };
    println!("{} {}", html::verdict(&results), html::conditions(&results));
    let failures = results.failures.len();
    ensure!(failures == 0, "{} went wrong: the report lists them", tables::counted(failures, "run"));
    Ok(())
}

/// The tables of the scenarios, for the terminal.
fn print(results: &Results) {
    for measured in &results.scenarios {
        println!(
            "{}\n{}\n",
            tables::title(&measured.scenario),
            tables::scenario(results, measured).terminal(usize::MAX)
        );
    }
    if !results.micro.is_empty() {
        println!("Microbenchmarks\n{}\n", tables::micro(results).terminal(usize::MAX));
    }
    for problem in tables::problems(results) {
        println!("{problem}");
    }
}

/// Reads saved figures.
fn read(file: &Path) -> anyhow::Result<Results> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let results: Results = serde_json::from_str(&text)
        .with_context(|| format!("{name} does not hold the figures of a run: give a file written with --json"))?;
    let format = results.format;
    ensure!(format == FORMAT, "{name} has format {format}, and this program reads format {FORMAT}: measure again");
    Ok(results)
}

impl Destinations {
    fn open(args: &RunArgs) -> anyhow::Result<Destinations> {
        let is_choice = !args.servers.is_empty() || !args.scenarios.is_empty();
        let default = match args.quick {
            _ if is_choice => None,
            true => Some(QUICK),
            false => Some(ALL),
        };
        let path = |given: &Option<PathBuf>, default: Option<&str>, ending: &str| {
            given.clone().or_else(|| default.map(|name| PathBuf::from(name).with_extension(ending)))
        };
        let open = |path: PathBuf| Destination::open(&path).map(|file| (path, file));
        // What was read is what would be written.
        let saved = default.filter(|_| args.from.is_none());
        Ok(Destinations {
            html: path(&args.html, default, "html").map(open).transpose()?,
            json: path(&args.json, saved, "json").map(open).transpose()?,
            markdown: args.markdown.clone().map(open).transpose()?,
        })
    }

    /// The figures first: whatever happens to the reports, they can be written again.
    fn write(self, results: &Results) -> anyhow::Result<()> {
        if let Some(file) = self.json {
            save(file, &serde_json::to_string(results).context("the figures do not fit into JSON")?)?;
        }
        if let Some(file) = self.markdown {
            save(file, &markdown::report(results))?;
        }
        if let Some(file) = self.html {
            save(file, &html::report(results)?)?;
        }
        Ok(())
    }
}

/// Writes a report, and says so.
pub fn save((path, file): (PathBuf, Destination), text: &str) -> anyhow::Result<()> {
    file.write(text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

//! `demos blocking`.

use anyhow::Context;
use clap::Args;
use demos::blocking::{self, Plan, Record, Way, timeline};
use demos::plot::Table;
use executor::Runtime;

use crate::args::EngineArgs;
use crate::engine::{self, Program};
use crate::output;

/// Shows why a blocking call inside a task stops all tasks, and two ways to avoid it.
///
/// Some tasks tick at short intervals, while one task works. Its work is a sleep: one that blocks the
/// thread, one that is awaited, and one that blocks a thread of the runtime's pool.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos blocking                               three timelines
  demos blocking --on reactor-level --work 1000
  demos blocking --tasks 1 --tick 100
      with few ticks, few are missed: blocking hides well")]
pub struct BlockingArgs {
    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    plan: Plan,
}

/// Shows one way after the other.
pub fn run(args: &BlockingArgs) -> anyhow::Result<()> {
    engine::run(args.engine.on, Show { plan: &args.plan })?.0
}

struct Show<'a> {
    plan: &'a Plan,
}

impl Program for Show<'_> {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        let Plan { tasks, tick, work } = self.plan;
        output::print(&format!(
            "{tasks} tasks tick every {tick} ms, and one works for {work} ms, all on one thread ({})\n\
             | a tick   . nothing   # the work",
            rt.engine()
        ))?;
        let mut table = Table::new(1, ["how the work is done", "ticks", "while it worked", "longest pause, ms"]);
        for (number, way) in Way::ALL.into_iter().enumerate() {
            let record = blocking::run(&rt, way, self.plan).await.context("a task failed")?;
            output::print(&format!("\n{}. {}: {}\n{}", number + 1, way.code(), title(way), timeline(&record)))?;
            table.row(None, cells(way, &record));
        }
        output::print(&format!("\n{}\n", table.terminal(output::width())))?;
        output::prose(
            "Look at: the hole in all lines at once. The thread that should wake the others sleeps.\n\
             To compute for long is to block as well; there is no async sleep in place of that, but there is spawn_blocking.\n\
             Next: `demos blocking --tasks 1 --tick 100`; the code is in demos/src/blocking/.",
        )
    }
}

fn title(way: Way) -> &'static str {
    match way {
        Way::Blocking => "nobody ticks",
        Way::Awaiting => "cured, the task gives the thread back while it waits",
        Way::OnThePool => "cured, another thread sleeps",
    }
}

fn cells(way: Way, record: &Record) -> [String; 4] {
    [
        way.code().to_owned(),
        record.ticks.iter().map(Vec::len).sum::<usize>().to_string(),
        record.during_work().to_string(),
        record.longest_gap().as_millis().to_string(),
    ]
}

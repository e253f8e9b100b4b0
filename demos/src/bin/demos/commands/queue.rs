//! `demos queue`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use demos::plot::{Table, grouped};
use demos::queue::{self, Actor, Plan, Record, timeline};
use executor::Runtime;
use serde_json::{Value, json};

use crate::args::EngineArgs;
use crate::engine::{self, Program};
use crate::output;

/// Shows producers and consumers with a bounded queue between them, and which side has to wait.
///
/// The picture has a line for each of them: `.` means it works, `#` means it waits for the queue. Between
/// the two sides is the queue, and how full it was. If the producers are faster, the queue fills, and
/// then they wait: that is back-pressure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos queue                                  fast producers, a slow consumer
  demos queue --consumers 8                    now the consumers wait
  demos queue --capacity 1000                  no producer waits, all is in memory
  demos queue --on reactor-level --json events.json")]
pub struct QueueArgs {
    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    plan: Plan,

    /// Also write each item that went in or came out to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the plan, and shows what came of it.
pub fn run(args: QueueArgs) -> anyhow::Result<()> {
    let files = output::Files::open(args.json.as_deref(), None)?;
    let (record, _stats) = engine::run(args.engine.on, QueueProgram { plan: &args.plan })?;
    let (engine, record) = record?;
    output::print(&text(engine, &args.plan, &record))?;
    output::prose(&lesson(&args.plan, &record))?;
    files.write_figures(|| events(&args.plan, &record))
}

/// The part of its time for which somebody may be held up without anybody speaking of it.
const HARDLY: f64 = 0.1;

struct QueueProgram<'a> {
    plan: &'a Plan,
}

impl Program for QueueProgram<'_> {
    type Output = anyhow::Result<(&'static str, Record)>;

    async fn main<R: Runtime>(self, rt: R) -> Self::Output {
        Ok((rt.engine(), queue::run(&rt, self.plan).await.context("a task failed")?))
    }
}

fn text(engine: &str, plan: &Plan, record: &Record) -> String {
    let Plan { producers, consumers, capacity, produce, consume, .. } = plan;
    let many = |count: u16, name: &str| if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") };
    let mut table = Table::new(1, ["", "items", "held up, ms", "of its time"]);
    for actor in plan.actors() {
        let (items, waited) = record.of(actor);
        let part = waited.as_secs_f64() / last(record, actor).as_secs_f64().max(f64::MIN_POSITIVE);
        let cells = [name(actor), items.to_string(), waited.as_millis().to_string(), format!("{:.0} %", part * 100.0)];
        table.row(None, cells);
    }
    format!(
        "{} ({produce} ms for an item) -> a queue of {} -> {} ({consume} ms), on {engine}\n\n\
         {}\n   . works   # is held up by the queue   ▁▂▃▄▅▆▇█ how full the queue is\n\n{}\n",
        many(*producers, "producer"),
        grouped(f64::from(*capacity)),
        many(*consumers, "consumer"),
        timeline(plan, record),
        table.terminal(output::width()),
    )
}

fn lesson(plan: &Plan, record: &Record) -> String {
    format!(
        "The queue never held more than {} of {} items. {}",
        grouped(record.deepest() as f64),
        grouped(f64::from(plan.producers) * f64::from(plan.items)),
        verdict(plan, record)
    )
}

/// When somebody had put in its last item, or had seen that none comes any more.
fn last(record: &Record, actor: Actor) -> Duration {
    record.waits(actor).last().map_or(Duration::ZERO, |(at, _)| at)
}

/// Who waited, and what to try next.
fn verdict(plan: &Plan, record: &Record) -> &'static str {
    // The part of their time.
    let held_up = |is_asked: fn(&Actor) -> bool| -> f64 {
        let asked = || plan.actors().filter(is_asked);
        let waited: Duration = asked().map(|actor| record.of(actor).1).sum();
        let time: Duration = asked().map(|actor| last(record, actor)).sum();
        waited.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE)
    };
    let producers = held_up(|actor| matches!(actor, Actor::Producer(_)));
    let consumers = held_up(|actor| matches!(actor, Actor::Consumer(_)));
    if producers.max(consumers) < HARDLY {
        "Hardly anybody is held up.\nWhat comes faster than it goes lies in the queue, which is memory.\n\
         Next: `demos queue --capacity 8` (who waits now?), `demos queue --capacity 1000 --items 100` (how many then?)."
    } else if producers > consumers {
        "The producers are held up: that is back-pressure.\n\
         Next: `demos queue --consumers 8` (who waits now?), `demos queue --capacity 1000` (and where are the items?)."
    } else {
        "The consumers wait for items, and the queue is short.\n\
         Next: `demos queue --consumers 1 --capacity 8` (who waits now?), `demos queue --produce 1`."
    }
}

fn name(actor: Actor) -> String {
    match actor {
        Actor::Producer(number) => format!("producer {}", number + 1),
        Actor::Consumer(number) => format!("consumer {}", number + 1),
    }
}

fn events(plan: &Plan, record: &Record) -> Value {
    let events = record.events.iter().map(|event| {
        json!({
            "at_us": event.at.as_micros() as u64,
            "who": name(event.actor),
            "does": match event.actor { Actor::Producer(_) => "put", Actor::Consumer(_) => "take" },
            "item": [event.item.producer + 1, event.item.number],
            "waited_us": event.waited.as_micros() as u64,
            "depth": event.depth,
        })
    });
    json!({
        "producers": plan.producers,
        "items": plan.items,
        "capacity": plan.capacity,
        "events": events.collect::<Vec<_>>(),
    })
}

//! `demos dht`: the command line, and the table.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use demos::dht::{Figures, Plan, Routing, Trial};
use demos::plot::Table;
use executor::{Files, Net};
use serde_json::{Value, json};

use crate::args::{EngineArgs, address, seconds};
use crate::engine::{self, Program};
use crate::{descriptors, log, output, signals};

/// Looks keys up in a ring of nodes over UDP: iterative and recursive, with and without dead nodes.
///
/// The ring is Chord's (Stoica and others, SIGCOMM 2001). All nodes are in this process, each with a socket of its own.
/// Each datagram is delayed, as on a network. It prints one table.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  demos dht                                     256 nodes, of which a tenth dies
  demos dht --nodes 500 --dead 200 --delay 0.02
  demos dht --on reactor-level --seed 7
  demos dht serve --nodes 64                    a ring to talk to yourself"
)]
pub struct DhtArgs {
    #[command(subcommand)]
    command: Option<DhtCommand>,

    #[command(flatten)]
    ring: RingArgs,

    /// Nodes that die before the second part of the table. In the third part, the others have noticed. Default: a tenth.
    #[arg(long, value_name = "NUMBER")]
    dead: Option<usize>,

    /// Look-ups for each line of the table.
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    lookups: u32,

    /// Seed for the keys, the nodes that ask, and the nodes that die. The numbers of the nodes come from their ports.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum DhtCommand {
    Serve(ServeArgs),
}

#[derive(Clone, Debug, Args)]
struct RingArgs {
    /// Nodes of the ring, 2 to 1000.
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1000))]
    nodes: u32,

    /// Seconds by which each datagram is delayed.
    #[arg(long, value_name = "SECONDS", default_value = "0.005", value_parser = seconds)]
    delay: Duration,

    /// Seconds to wait for an answer before a node counts as dead. It is asked twice in this time.
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = seconds)]
    timeout: Duration,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Keeps a ring running, so that a program of yours can look up keys.
///
/// It prints `listening on ADDR:PORT (ENGINE)`, the first node, and serves until SIGHUP, SIGINT or SIGTERM.
/// The datagrams are
/// JSON. The answer to {"step":{"token":1,"key":42,"avoid":[]}} is
/// {"closer":{"token":1,"nodes":[{"id":7,"at":"127.0.0.1:5"}]}}, or {"owner":...} with the same content. The answer to
/// {"get":{"token":2,"key":42}} is {"have":{"token":2}}.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos dht serve --nodes 64
  echo '{\"step\":{\"token\":1,\"key\":42,\"avoid\":[]}}' | nc -u -W 1 127.0.0.1 8080")]
struct ServeArgs {
    /// Where the first node listens; the others take free ports at the same address.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,

    #[command(flatten)]
    ring: RingArgs,
}

/// Measures, or serves.
pub fn run(args: DhtArgs) -> anyhow::Result<()> {
    descriptors::raise_open_files();
    if let Some(DhtCommand::Serve(args)) = args.command {
        ensure!(
            args.listen.ip().is_loopback(),
            "{} can be reached from other machines, and a ring trusts whoever talks to it: listen on 127.0.0.1 or [::1]",
            args.listen
        );
        return engine::run(args.ring.engine.on, Serving(args))?.0;
    }
    let dead = args.dead.unwrap_or((args.ring.nodes / 10) as usize);
    if dead >= args.ring.nodes as usize - 1 {
        bail!("of {} nodes {dead} can't die: two have to live, give a lower number with --dead", args.ring.nodes);
    }
    engine::run(args.ring.engine.on, Measuring { args, dead })?.0
}

impl RingArgs {
    fn plan(&self, lookups: u32, seed: u64) -> Plan {
        Plan { nodes: self.nodes as usize, lookups: lookups as usize, delay: self.delay, timeout: self.timeout, seed }
    }
}

/// What to do about a ring that can't be made.
const FEWER: &str = "cannot make the ring; try fewer nodes with --nodes";
const ELSEWHERE: &str =
    "cannot make the ring; try another address with --listen ADDR:PORT (0: any free port), or fewer nodes";

struct Serving(ServeArgs);

impl Program for Serving {
    type Output = anyhow::Result<()>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<()> {
        let remote = rt.remote();
        signals::stop_on_signals(move || remote.stop()).context("cannot watch for signals")?;
        let trial = Trial::new(&rt, self.0.ring.plan(0, 0), self.0.listen).context(ELSEWHERE)?;
        log::tell_patiently(format_args!("listening on {} ({})", trial.first(), rt.engine()));
        rt.stopped().await;
        trial.end().await.context("a node failed")
    }
}

struct Measuring {
    args: DhtArgs,
    dead: usize,
}

impl Program for Measuring {
    type Output = anyhow::Result<()>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<()> {
        let Measuring { args, dead } = self;
        let files = output::Files::open(args.json.as_deref(), None)?;
        let progress = output::progress_bar(3 * Routing::ALL.len() as u64)?;
        let plan = args.ring.plan(args.lookups, args.seed);
        let trial = Trial::new(&rt, plan, ([127, 0, 0, 1], 0).into()).context(FEWER)?;
        let mut table = Table::new(1, HEADER);
        let mut rows = Vec::new();
        let mut repair = None;
        for (dead, is_repaired) in [(0, false), (dead, false), (dead, true)] {
            trial.kill(dead);
            if is_repaired {
                repair = Some(trial.repair().await);
            }
            for routing in Routing::ALL {
                progress.set_message(routing.name());
                trial.kill(dead);
                let figures = trial.run(routing).await;
                progress.inc(1);
                let dead = if is_repaired { format!("{dead}, repaired") } else { dead.to_string() };
                rows.push(json(routing, &dead, &figures));
                table.row(None, row(routing, dead, &figures));
            }
        }
        let repair = repair.unwrap_or_default() as f64 / (plan.nodes - dead) as f64;
        progress.finish_and_clear();
        output::prose(&heading(&plan, rt.engine()))?;
        output::print(&table.terminal(output::width()))?;
        output::prose(&lesson(&plan, repair))?;
        files.write_figures(|| json!({ "rows": rows, "repair_messages_per_node": repair }))?;
        rt.stop();
        trial.end().await.context("a node failed")
    }
}

const HEADER: [&str; 11] = [
    "routing",
    "dead",
    "found",
    "wrong",
    "sent",
    "hops",
    "p50",
    "p99",
    "waits in vain",
    "met by askers",
    "met by others",
];

fn row(routing: Routing, dead: String, figures: &Figures) -> [String; 11] {
    let each = |total: u64, of: u64| format!("{:.1}", total as f64 / of.max(1) as f64);
    let ms = |part| format!("{:.1}", figures.time(part) as f64 / 1000.0);
    [
        routing.name().to_owned(),
        dead,
        figures.right.to_string(),
        figures.wrong.to_string(),
        each(figures.messages, figures.lookups),
        each(figures.hops, figures.right + figures.wrong),
        ms(0.5),
        ms(0.99),
        figures.timeouts.to_string(),
        figures.learned_by_askers.to_string(),
        figures.learned_by_others.to_string(),
    ]
}

fn json(routing: Routing, dead: &str, figures: &Figures) -> Value {
    json!({
        "routing": routing.name(),
        "dead": dead,
        "lookups": figures.lookups,
        "right": figures.right,
        "wrong": figures.wrong,
        "messages": figures.messages,
        "hops": figures.hops,
        "p50_us": figures.time(0.5),
        "p99_us": figures.time(0.99),
        "waits_in_vain": figures.timeouts,
        "dead_met_by_askers": figures.learned_by_askers,
        "dead_met_by_others": figures.learned_by_others,
    })
}

fn heading(plan: &Plan, engine: &str) -> String {
    let Plan { nodes, lookups, .. } = plan;
    let [delay, timeout] = [plan.delay, plan.timeout].map(|time| time.as_secs_f64() * 1e3);
    format!(
        "A ring of {nodes} nodes on {engine}; {lookups} look-ups for each line. Each datagram is {delay} ms on its way, and a \
         node without an answer for {timeout} ms counts as dead. Messages sent and hops are those of a look-up on average; p50 and p99 are in ms.\n"
    )
}

/// `repair`: messages for each node that lived.
fn lesson(plan: &Plan, repair: f64) -> String {
    let nodes = plan.nodes;
    format!(
        "\nLook at: hops are about half the logarithm of the number of nodes. An iterative look-up pays two messages and twice \
         the time for each; a recursive one half the time, because the answer comes straight from the owner. When nodes have \
         died, the iterative asker meets them itself, waits for each, and knows them from then on (\"met by askers\"). In \
         the recursive way those in between meet them, and the asker learns nothing. Blindly passed on, a look-up ends at the \
         first dead node: the asker waits in vain, and some are never found. At last each node looks up anew what it has to \
         know, with {repair:.0} messages, and the dead cost nothing any more (\"repaired\"). \"wrong\" are answers that name \
         another node than the one that has the key.\n\
         Try next: `demos dht --nodes {nodes} --dead {}`, or `--delay 0.05`.",
        (nodes / 2).min(nodes - 2)
    )
}

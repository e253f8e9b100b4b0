//! `demos models`: the ladder of I/O models.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::{ServerArgs, addresses, some_seconds};
use crate::models::measure::{self, Plan};
use crate::models::service::Service;
use crate::models::{self, Rung, page, serve};
use crate::output;
use crate::server::Addresses;

/// How long connections have to finish after a signal stops the rung of a runtime.
const GRACE: Duration = Duration::from_secs(5);

/// Measures the ladder of I/O models, from one client at a time to the runtimes, and prints one table.
///
/// Every rung serves the same echo and the same web page, in a process of its own. One client drives them all, and checks
/// every byte. `demos models list` names the rungs and their files; each takes a minute to read.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  demos models                                 all rungs, in about 90 seconds
  demos models --html models.html              and the picture
  demos models --long --html models.html       10,000 connections, six minutes
  demos models --only select,poll,epoll-level
  demos models list                            the rungs, and their files
  demos models serve select                    one rung alone, for nc"
)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,

    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Measure only these rungs, in the order of the ladder.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = rung)]
    pub only: Vec<&'static Rung>,

    /// Measure the whole curve, up to 10,000 connections, and longer.
    #[arg(long)]
    pub long: bool,

    /// About how long the measuring may take in all; starting and connecting come on top. Default: 60, or 240 with
    /// --long.
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    pub seconds: Option<Duration>,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write plots and the table to FILE, an HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Lists the rungs, from the bottom up, with the file of each.
    List,
    Serve(ServeArgs),
}

/// Serves one rung alone, until SIGHUP, SIGINT or SIGTERM.
///
/// It prints `listening on ADDR:PORT (NAME)` when it accepts. At the end it prints its counters: connections, refused
/// connections, and system calls.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos models serve blocking                  then, twice: nc 127.0.0.1 8080
  demos models serve epoll-edge --service web  then: curl http://127.0.0.1:8080/
  demos models serve pool --max-connections 2 --listen 127.0.0.1:7000")]
pub struct ServeArgs {
    /// The rung, as `demos models list` names it.
    #[arg(value_name = "NAME", value_parser = rung)]
    pub rung: &'static Rung,

    /// What it serves.
    #[arg(long, value_enum, default_value = "echo")]
    pub service: Service,

    #[command(flatten)]
    pub listen: ListenArgs,
}

/// The options of every rung.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// Where to listen. Port 0 lets the kernel choose one. A name stands for all its addresses on the runtimes, and for
    /// its first one on the other rungs.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = addresses)]
    pub listen: Addresses,

    /// Allow addresses that other machines can reach. This is a demonstration, not a product.
    #[arg(long)]
    pub allow_remote: bool,

    /// Connections at the same time, if the rung and the limit of open files allow that many. Further ones are refused;
    /// on the runtimes they wait. For the pool this is the number of threads.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// Answer each line on stdin with one line of counters, and stop when stdin ends.
    #[arg(long, hide = true)]
    pub control: bool,
}

impl ListenArgs {
    /// The same as options of a server on one thread.
    pub fn server(&self) -> ServerArgs {
        ServerArgs {
            listen: self.listen.clone(),
            allow_remote: self.allow_remote,
            grace: GRACE,
            max_connections: self.max_connections,
            max_per_address: None,
            sandbox: false,
            control: self.control,
        }
    }
}

/// Parses the name of a rung.
pub fn rung(text: &str) -> Result<&'static Rung, String> {
    Rung::find(text)
}

/// Measures, lists or serves.
pub fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    match &args.command {
        None => compare(&args.measure),
        Some(ModelsCommand::List) => output::print(&models::list()),
        Some(ModelsCommand::Serve(args)) => serve::run(args.rung, args.service, &args.listen.server()),
    }
}

/// Measures, and prints what came of it.
fn compare(args: &MeasureArgs) -> anyhow::Result<()> {
    let files = output::Files::open(args.json.as_deref(), args.html.as_deref())?;
    let plan = Plan { only: args.only.clone(), is_long: args.long, time: args.seconds };
    let report = measure::run(&plan)?;
    output::print(&report.text(output::width()))?;
    files.write(|| report.json(), || page::html(&report))
}

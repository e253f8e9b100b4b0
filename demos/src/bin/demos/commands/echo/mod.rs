//! `demos echo`: the server, and a client of it.

mod client;

use std::rc::Rc;

use clap::Args;
use executor::Runtime;

use crate::args::{self, EngineArgs, ServerArgs, WorkersArgs};
use crate::server;

/// Runs a TCP echo server, or talks to one.
///
/// The server prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGHUP, SIGINT or
/// SIGTERM. With --client, it sends stdin to a server, and prints what comes back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos echo                                   serve on 127.0.0.1:8080
  demos echo --on reactor-level --listen [::1]:0
  demos echo --listen 0.0.0.0:7000 --allow-remote
  demos echo --workers 4                       serve on four cores
  demos echo --sandbox                         and be able to do little else
  demos echo --client 127.0.0.1:8080           talk to it
  echo hi | demos echo --client localhost:8080")]
pub struct EchoArgs {
    /// Talk to the echo server at HOST:PORT instead of serving.
    #[arg(long, value_name = "HOST:PORT", value_parser = args::host, conflicts_with_all = ["ServerArgs", "WorkersArgs"])]
    pub client: Option<String>,

    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub workers: WorkersArgs,
}

/// Serves, or talks to a server.
pub fn run(args: EchoArgs) -> anyhow::Result<()> {
    match args.client {
        Some(server) => client::run(args.engine.on, &server),
        None => server::run_on_workers(args.engine.on, &args.server, &args.workers, || Ok(Echo)),
    }
}

struct Echo;

impl server::Service for Echo {
    async fn connection<R: Runtime>(_: Rc<Self>, rt: R, stream: R::Stream) {
        // A peer that resets its connection has ended it: no answer can reach it.
        let _ = demos::echo::connection(rt, stream).await;
    }
}

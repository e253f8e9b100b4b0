//! `demos web`: the one-page server, from one client at a time to the runtimes. Shows that the page is the same whoever
//! serves it, and that it says who did.
//!
//! ```sh
//! demos web --on blocking                       # then: curl http://127.0.0.1:8080/
//! demos web --on reactor-edge                   # or any other rung that `demos models list` names
//! ```
//!
//! What is served is in `models/service.rs`, and who serves it in the rungs' files beside it.

use clap::Args;

use super::models::{ListenArgs, rung};
use crate::models::service::Service;
use crate::models::{Rung, serve};

/// Serves one page, with a fresh random number and the server's name, on any engine and any rung of the ladder.
///
/// It prints `listening on ADDR:PORT (NAME)` when it accepts, and serves until SIGHUP, SIGINT or SIGTERM.
/// Reload the page: the
/// number changes, the name stays. `demos models list` names the rungs. `demos http` is the complete HTTP server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos web                                    then: curl http://127.0.0.1:8080/
  demos web --on reactor-edge
  demos web --on threads                       a thread for each connection
  demos web --on blocking --listen 127.0.0.1:0")]
pub struct WebArgs {
    /// The engine to run on, or another rung of the ladder.
    #[arg(long, value_name = "NAME", default_value = "proactor", value_parser = rung)]
    pub on: &'static Rung,

    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Serves until SIGHUP, SIGINT or SIGTERM stops it.
pub fn run(args: &WebArgs) -> anyhow::Result<()> {
    serve::run(args.on, Service::Web, &args.listen.server())
}

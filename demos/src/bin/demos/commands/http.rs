//! `demos http`: the HTTP/1.1 server, and which of its limits a user can set.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use demos::http::limits::{BODY, HEADER_TIMEOUT, IDLE_TIMEOUT, REQUESTS, STALL_TIMEOUT};
use demos::http::{Limits, Site};
use executor::{Files, Net};

use crate::args::{self, EngineArgs, ServerArgs, WorkersArgs};
use crate::log::AccessArgs;
use crate::server;

/// Runs an HTTP/1.1 server.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGHUP, SIGINT or SIGTERM. It
/// has /, /plaintext, /json, /sleep?ms=NUMBER, /stats and POST /echo. With --root it also has the files
/// below /files/, whole or in part (curl -C -), and not twice (curl -z). With several workers, /stats shows the counters of
/// the worker that answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos http                                   serve on 127.0.0.1:8080
  curl http://127.0.0.1:8080/plaintext         ask it
  demos http --on reactor-level --listen [::1]:0
  demos http --workers 4                       serve on four cores
  demos http --sandbox --root ./public         and be able to do little else
  demos http --root ./public
      curl http://127.0.0.1:8080/files/NAME
  demos http --listen 0.0.0.0:8000 --allow-remote --grace 30")]
pub struct HttpCommand {
    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub workers: WorkersArgs,

    #[command(flatten)]
    pub http: HttpArgs,

    #[command(flatten)]
    pub access: AccessArgs,
}

/// Arguments of the HTTP server, to be flattened into a command.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "HTTP server")]
pub struct HttpArgs {
    /// Serve the regular files below DIR under /files/ (no listings, no symbolic links)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Largest request body in bytes; /echo keeps a whole body in memory for each connection
    #[arg(long, value_name = "BYTES", default_value_t = BODY)]
    pub max_body: u64,

    /// Requests served on one connection before it is closed
    #[arg(long, value_name = "N", default_value_t = REQUESTS, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: u64,

    /// Seconds a client may take to send the whole header of a request
    #[arg(long, value_name = "SECONDS", default_value_t = HEADER_TIMEOUT.as_secs_f64(), value_parser = some_seconds)]
    pub header_timeout: f64,

    /// Seconds an idle keep-alive connection is kept open
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_TIMEOUT.as_secs_f64(), value_parser = some_seconds)]
    pub idle_timeout: f64,

    /// Seconds a request body or a response may make no progress before it is given up
    #[arg(long, value_name = "SECONDS", default_value_t = STALL_TIMEOUT.as_secs_f64(), value_parser = some_seconds)]
    pub stall_timeout: f64,
}

impl HttpArgs {
    /// The limits these arguments ask for; all others are the defaults.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            body: self.max_body,
            requests: self.max_requests,
            header_timeout: Duration::from_secs_f64(self.header_timeout),
            idle_timeout: Duration::from_secs_f64(self.idle_timeout),
            stall_timeout: Duration::from_secs_f64(self.stall_timeout),
            ..Limits::default()
        }
    }

    /// The site these arguments describe.
    ///
    /// # Errors
    /// As [`Site::new`].
    pub fn site(&self) -> io::Result<Site> {
        Site::new(self.limits(), self.root.as_deref())
    }
}

/// Parses a number of seconds, but not 0.
fn some_seconds(text: &str) -> Result<f64, String> {
    args::some_seconds(text).map(|seconds| seconds.as_secs_f64())
}

/// Serves until SIGHUP, SIGINT or SIGTERM stops it.
pub fn run(args: HttpCommand) -> anyhow::Result<()> {
    let access = args.access.open()?;
    server::run_on_workers(args.engine.on, &args.server, &args.workers, || {
        let site = args.http.site().context("--root")?;
        let site = site.with_access_log(access);
        // Its ring takes no files then.
        let site = if args.server.sandbox { site.reading_in_threads() } else { site };
        Ok(Http { site: Rc::new(site) })
    })
}

struct Http {
    site: Rc<Site>,
}

impl server::Service for Http {
    async fn connection<R: Net + Files>(http: Rc<Self>, rt: R, stream: R::Stream) {
        demos::http::connection(rt, stream, Rc::clone(&http.site)).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        http: HttpArgs,
    }

    fn parse(args: &[&str]) -> Result<HttpArgs, clap::Error> {
        Command::try_parse_from([&["demo"], args].concat()).map(|command| command.http)
    }

    #[test]
    fn without_arguments_the_limits_are_the_defaults() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.limits(), args.root), (Limits::default(), None));
    }

    #[test]
    fn arguments_become_limits_and_senseless_ones_are_refused() {
        let limits = parse(&["--idle-timeout", "0.5", "--max-body=0"]).unwrap().limits();
        assert_eq!((limits.idle_timeout, limits.body), (Duration::from_millis(500), 0));
        for senseless in [
            "--idle-timeout=0",
            "--header-timeout=-1",
            "--stall-timeout=NaN",
            "--stall-timeout=inf",
            "--max-requests=0",
        ] {
            assert!(parse(&[senseless]).is_err(), "{senseless}");
        }
    }
}

//! The binary `demos`: servers and demonstrations to run, engines to compare. See `demos --help`.
//!
//! | module | what it does |
//! |---|---|
//! | `cli` | the command line |
//! | `engine` | chooses the runtime, once, for programs that are generic over it |
//! | `server`, `workers`, `signals`, `limits`, `output` | what the server commands share |
//! | `commands` | the demonstrations' parts that have to do with the command line |
//! | `echo_client` | `demos echo --client HOST:PORT` |
//! | `compare`, `child`, `cores`, `control`, `client`, `measure`, `report`, `page` | `demos compare`: runs servers, drives them, shows what came of it |
//! | `models` | `demos models`, `demos web`: the ladder of I/O models, and what came of each rung |
//! | `ipc` | `demos ipc`: seven ways for processes to talk |
//! | `doctor` | `demos doctor`: what this machine offers |
//! | `documents` | a test: what documents tell a reader to type is understood |

// What has to talk to the kernel without a library between says so in its own file.
#![deny(unsafe_code)]

mod child;
mod cli;
mod client;
mod commands;
mod compare;
mod control;
mod cores;
mod doctor;
#[cfg(test)]
mod documents;
mod echo_client;
mod engine;
mod ipc;
mod limits;
mod measure;
mod models;
mod output;
mod page;
mod report;
mod server;
mod signals;
mod workers;

use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context;
use clap::Parser;
use demos::http::Site;
use executor::Runtime;

use cli::{Cli, Command, EchoArgs, HttpCommand};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Compare(args)) => compare::run(&args)?,
        Some(Command::Echo(args)) => echo(args)?,
        Some(Command::Http(args)) => http(args)?,
        Some(Command::Models(args)) => commands::models::run(&args)?,
        Some(Command::Web(args)) => commands::web::run(&args)?,
        Some(Command::Udp(args)) => commands::udp::run(args)?,
        Some(Command::Framing(args)) => commands::framing::run(args)?,
        Some(Command::Files(args)) => commands::files::run(args)?,
        Some(Command::Tasks(args)) => commands::tasks::run(&args)?,
        Some(Command::Blocking(args)) => commands::blocking::run(&args)?,
        Some(Command::Queue(args)) => commands::queue::run(args)?,
        Some(Command::Ipc(args)) => commands::ipc::run(&args)?,
        Some(Command::Chat(args)) => commands::chat::run(args)?,
        Some(Command::Proxy(args)) => commands::proxy::run(args)?,
        Some(Command::Rpc(args)) => commands::rpc::run(args)?,
        Some(Command::Dht(args)) => commands::dht::run(args)?,
        Some(Command::Doctor(args)) => return doctor::run(&args),
        None => return run(Cli::parse_from(["demos", "compare"])),
    }
    Ok(ExitCode::SUCCESS)
}

fn echo(args: EchoArgs) -> anyhow::Result<()> {
    match args.client {
        Some(server) => echo_client::run(args.engine.on, &server),
        None => server::run_on_workers(args.engine.on, &args.server, &args.workers, || Ok(Echo)),
    }
}

struct Echo;

impl server::Service for Echo {
    async fn connection<R: Runtime>(_: Rc<Self>, rt: R, stream: R::Stream) {
        // A peer that resets its connection has ended it; there is nobody to tell.
        let _ = demos::echo::connection(rt, stream).await;
    }
}

fn http(args: HttpCommand) -> anyhow::Result<()> {
    server::run_on_workers(args.engine.on, &args.server, &args.workers, || {
        let site = args.http.site().context("cannot open the directory given with --root")?;
        Ok(Http { site: Rc::new(site) })
    })
}

struct Http {
    site: Rc<Site>,
}

impl server::Service for Http {
    async fn connection<R: Runtime>(http: Rc<Self>, rt: R, stream: R::Stream) {
        demos::http::connection(rt, stream, Rc::clone(&http.site)).await;
    }
}

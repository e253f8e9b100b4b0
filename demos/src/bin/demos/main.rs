//! The binary `demos`: servers and demonstrations to run, engines to compare. See `demos --help`.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `args` | the command line: the commands, and what they share |
//! | `commands` | a command each: its options, and what it does with the library |
//! | `compare` | `demos compare`: all engines under the same load |
//! | `models` | `demos models`, `demos web`: the ladder of I/O models, and what came of each rung |
//! | `ipc` | `demos ipc`: seven ways for processes to talk |
//! | `engine` | chooses the runtime, once, for programs that are generic over it |
//! | `server` | what the server commands share |
//! | `load` | what the commands that measure share: servers in processes, the client, the figures |
//! | `origin` | what a report says about the build, the machine and the command |
//! | `leftovers` | what must not outlive the program |
//! | `log` | what servers say while they run |
//! | `input`, `output`, `signals`, `descriptors` | stdin, stdout and files, signals, the limit of open files |
//! | `tests` | a test: what documents tell a reader to type is understood |

// What has to talk to the kernel without a library between says so in its own file.
#![deny(unsafe_code)]

mod args;
mod cli;
mod commands;
mod compare;
mod descriptors;
mod engine;
mod input;
mod ipc;
mod leftovers;
mod load;
mod log;
mod models;
mod origin;
mod output;
mod server;
mod signals;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = run(Cli::read());
    log::finish();
    result.unwrap_or_else(|error| {
        log::say_last(format_args!("demos: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    log::open(&cli.log)?;
    signals::prepare().context("cannot watch for signals")?;
    match cli.command.or_else(|| Cli::parse_from(["demos", "compare"]).command) {
        Some(Command::Compare(args)) => compare::run(&args)?,
        Some(Command::Bench(args)) => commands::bench::run(args)?,
        Some(Command::Echo(args)) => commands::echo::run(args)?,
        Some(Command::Http(args)) => commands::http::run(args)?,
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
        Some(Command::Proxy(args)) => commands::proxy::run(*args)?,
        Some(Command::Rpc(args)) => commands::rpc::run(args)?,
        Some(Command::Dht(args)) => commands::dht::run(args)?,
        Some(Command::Doctor(args)) => return commands::doctor::run(&args),
        Some(Command::Completions(args)) => commands::manual::completions(&args, Cli::program())?,
        Some(Command::Man(args)) => commands::manual::man(&args, Cli::program())?,
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

//! The same two servers on other runtimes and as hand-written loops, and the benchmark that compares
//! them with this project's engines.

mod bench;
mod instructions;
mod load;
mod micro;
mod servers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares this project's runtimes with their peers and with hand-written loops.
#[derive(Debug, Parser)]
#[command(name = "peers", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(servers::ServeArgs),
    Load(load::LoadArgs),
    Micro(micro::MicroArgs),
    Run(bench::RunArgs),
    Instructions(instructions::InstructionsArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => servers::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Micro(args) => micro::run(&args),
        Command::Run(args) => bench::run(&args),
        Command::Instructions(args) => instructions::run(&args),
    };
    if let Err(error) = done {
        eprintln!("peers: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

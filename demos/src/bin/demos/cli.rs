//! The command line: its commands, each of which has its own file.

use std::io::{self, IsTerminal};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::bench::BenchArgs;
use crate::commands::blocking::BlockingArgs;
use crate::commands::chat::ChatCommand;
use crate::commands::dht::DhtArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::echo::EchoArgs;
use crate::commands::files::FilesArgs;
use crate::commands::framing::FramingArgs;
use crate::commands::http::HttpCommand;
use crate::commands::ipc::IpcArgs;
use crate::commands::manual::{CompletionsArgs, ManArgs};
use crate::commands::models::ModelsArgs;
use crate::commands::proxy::ProxyCommand;
use crate::commands::queue::QueueArgs;
use crate::commands::rpc::RpcCommand;
use crate::commands::tasks::TasksArgs;
use crate::commands::udp::UdpArgs;
use crate::commands::web::WebArgs;
use crate::compare::CompareArgs;
use crate::log::{self, LogArgs};
use crate::{origin, output};

/// Two small async runtimes side by side. Servers and demonstrations, each written once, run on epoll
/// (level- or edge-triggered) and on io_uring.
///
/// Without a command it runs `compare`.
#[derive(Debug, Parser)]
#[command(
    name = "demos",
    version = origin::VERSION,
    max_term_width = 80,
    after_help = "\
Examples:
  demos                          compare the engines on this machine (15 s)
  demos echo                     an echo server on the default engine
  demos http --on reactor-edge   an HTTP server on an edge-triggered reactor
  demos models                   from one client to the runtimes (90 s)
  demos doctor                   which engines run here, and what to do if not"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub log: LogArgs,
}

impl Cli {
    /// Reads the command line, or ends the program with what is wrong with it.
    pub fn read() -> Cli {
        let matches = Cli::program().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
        matches.unwrap_or_else(|error| refuse(with_tip(error)))
    }

    /// The command line as clap sees it.
    pub fn program() -> clap::Command {
        with_negative_numbers(Cli::command())
    }
}

/// Says what is wrong, or shows the help that was asked for. A terminal gets it in colours; what else stderr may be does not
/// stop the program if it is full.
fn refuse(error: clap::Error) -> ! {
    let mut code = error.exit_code();
    if !error.use_stderr() {
        let text = error.render();
        let text = if io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        if let Err(error) = output::write(text.as_bytes()) {
            log::say_last(format_args!("demos: {error:#}"));
            code = 1;
        }
    } else if io::stderr().is_terminal() {
        error.exit();
    } else {
        error.render().to_string().lines().for_each(|line| log::say_last(format_args!("{line}")));
    }
    std::process::exit(code);
}

/// Says which engine is meant by the name of what it runs on, and which command by an option that comes without one.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    let tip = match (word(ContextKind::InvalidValue), word(ContextKind::InvalidArg)) {
        ("epoll", _) => "reactor-level and reactor-edge run on epoll".to_owned(),
        ("uring" | "io_uring", _) => "the proactor runs on io_uring".to_owned(),
        (_, option) if begins_with(option) => format!("{option} comes after the command, such as `demos compare`"),
        _ => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// Whether what was typed begins with this option.
fn begins_with(option: &str) -> bool {
    option.starts_with("--") && std::env::args().nth(1).is_some_and(|first| first.starts_with(option))
}

/// `-3` is a number, which the option that gets it refuses with its range, and no option.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |arg: clap::Arg| {
        let takes_one = arg.get_action().takes_values();
        if takes_one { arg.allow_negative_numbers(true) } else { arg }
    };
    command.mut_args(takes).mut_subcommands(with_negative_numbers)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Compare(CompareArgs),
    Bench(BenchArgs),
    Echo(EchoArgs),
    Http(HttpCommand),
    Models(ModelsArgs),
    Web(WebArgs),
    Udp(UdpArgs),
    Framing(FramingArgs),
    Files(FilesArgs),
    Tasks(TasksArgs),
    Blocking(BlockingArgs),
    Queue(QueueArgs),
    Ipc(IpcArgs),
    Chat(ChatCommand),
    Proxy(Box<ProxyCommand>),
    Rpc(RpcCommand),
    Dht(DhtArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::program().debug_assert();
    }
}

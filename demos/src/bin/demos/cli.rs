//! The command line: its commands, each of which has its own file.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::blocking::BlockingArgs;
use crate::commands::chat::ChatCommand;
use crate::commands::dht::DhtArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::echo::EchoArgs;
use crate::commands::files::FilesArgs;
use crate::commands::framing::FramingArgs;
use crate::commands::http::HttpCommand;
use crate::commands::ipc::IpcArgs;
use crate::commands::models::ModelsArgs;
use crate::commands::proxy::ProxyCommand;
use crate::commands::queue::QueueArgs;
use crate::commands::rpc::RpcCommand;
use crate::commands::tasks::TasksArgs;
use crate::commands::udp::UdpArgs;
use crate::commands::web::WebArgs;
use crate::compare::CompareArgs;
use crate::log::LogArgs;

/// Two small async runtimes side by side. Servers and demonstrations, each written once, run on epoll
/// (level- or edge-triggered) and on io_uring.
///
/// Without a command it runs `compare`.
#[derive(Debug, Parser)]
#[command(
    name = "demos",
    version,
    max_term_width = 80,
    after_help = "\
Examples:
  demos                          compare the engines on this machine (15 s)
  demos echo                     an echo server on the default engine
  demos http --on reactor-edge   an HTTP server on an edge-triggered reactor
  demos models                   from one client at a time to the runtimes (80 s)
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
        let matches = with_negative_numbers(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        with_negative_numbers(Cli::command()).debug_assert();
    }
}

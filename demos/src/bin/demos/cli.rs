//! The command line: its commands, each of which has its own file.

use clap::{Parser, Subcommand};

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
    after_help = "\
Examples:
  demos                          compare the engines on this machine (about 15 s)
  demos echo                     an echo server on the default engine
  demos http --on reactor-edge   an HTTP server on an edge-triggered reactor
  demos models                   the ladder from one client at a time to the runtimes (about 80 s)
  demos doctor                   which engines can run here, and what to do about those that can't"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub log: LogArgs,
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

    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

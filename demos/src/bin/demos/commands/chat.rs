//! `demos chat`.

use std::rc::Rc;

use clap::Args;
use demos::chat::{self, ChatArgs, Room};
use executor::Runtime;

use crate::args::{EngineArgs, ServerArgs};
use crate::server;

/// Runs a chat server: many clients, one room. Talk to it with nc.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGHUP, SIGINT or SIGTERM. The
/// first line a client sends is its name; each further line goes to all others. /who lists the clients,
/// /quit leaves. Each client has a bounded queue. A client that does not read loses its oldest lines or
/// is disconnected; it never delays the others. The room lives in one runtime, so there is no --workers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos chat
      then, in two more terminals: nc 127.0.0.1 8080
  demos chat --on reactor-level --listen [::1]:0
  demos chat --queue 8 --when-full close
      who doesn't read is closed: try Ctrl-S, or Ctrl-Z
  demos chat --listen 0.0.0.0:7000 --allow-remote --sandbox")]
pub struct ChatCommand {
    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    chat: ChatArgs,
}

/// Serves.
pub fn run(args: ChatCommand) -> anyhow::Result<()> {
    server::run(args.engine.on, &args.server, Chat { room: Room::new(args.chat) })
}

struct Chat {
    room: Rc<Room>,
}

impl server::Service for Chat {
    async fn connection<R: Runtime>(chat: Rc<Self>, rt: R, stream: R::Stream) {
        // Who has gone needs no explanation any more.
        let _ = chat::connection(rt, stream, Rc::clone(&chat.room)).await;
    }
}

//! `demos framing`.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, Subcommand};
use demos::framing::{self, FrameError, Method, Seen, Traffic, transfer};
use demos::plot::{Table, grouped};
use executor::Runtime;

use crate::args::{EngineArgs, ServerArgs, WorkersArgs, some_seconds};
use crate::engine::{self, Program};
use crate::{output, server};

/// Shows that TCP does not keep messages apart (sticky packets), and three ways to do it.
///
/// Without a command it sends a few messages to itself and shows what arrives: first without any mark
/// of where they end, then with each of three codecs. `serve` is a server to try the codecs with: it
/// reverses each message.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  demos framing                                see the problem, and its cures
  demos framing --on reactor-level
  demos framing serve --codec delimiter
      then: printf 'one\\ntwo\\n' | nc -N 127.0.0.1 8080
  demos framing serve --codec none
      and the same again: it turns round what it receives"
)]
pub struct FramingArgs {
    #[command(subcommand)]
    command: Option<FramingCommand>,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Subcommand)]
enum FramingCommand {
    Serve(ServeArgs),
}

/// Serves: each message comes back with its bytes in reverse order.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGHUP, SIGINT or SIGTERM. A
/// client that breaks a rule of the codec gets an error, and its connection ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos framing serve --codec delimiter
      then: printf 'one\\ntwo\\n' | nc -N 127.0.0.1 8080
  demos framing serve --codec prefix --len 100
  printf '\\0\\0\\0\\3one' | nc -N 127.0.0.1 8080 | xxd
  printf '\\377\\377\\377\\377' | nc 127.0.0.1 8080   a header that asks for 4 GiB")]
struct ServeArgs {
    /// How the end of a message is marked.
    #[arg(long, value_name = "CODEC", value_enum)]
    codec: Method,

    /// Longest message in bytes; with `fixed`, the length of each message.
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = framing::length)]
    len: NonZeroUsize,

    /// Seconds a client may send nothing.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    idle_timeout: Duration,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    workers: WorkersArgs,
}

/// Serves, or shows.
pub fn run(args: FramingArgs) -> anyhow::Result<()> {
    match args.command {
        Some(FramingCommand::Serve(args)) => {
            let turner = || Ok(Turner { method: args.codec, len: args.len, silence: args.idle_timeout });
            server::run_on_workers(args.engine.on, &args.server, &args.workers, turner)
        }
        None => engine::run(args.engine.on, Show)?.0,
    }
}

struct Turner {
    method: Method,
    len: NonZeroUsize,
    silence: Duration,
}

impl server::Service for Turner {
    async fn connection<R: Runtime>(turner: Rc<Self>, rt: R, stream: R::Stream) {
        // The server has answered a broken rule. No answer can reach the peer over a broken connection.
        let _ = framing::connection(rt, stream, turner.method, turner.len, turner.silence).await;
    }
}

/// The demonstration.
struct Show;

/// Short messages, and one that is longer than what one receive brings.
const WORDS: [&str; 3] = ["one", "two", "three"];
const LONG: usize = 100_000;
/// What a message may have where nothing is said.
const LIMIT: NonZeroUsize = NonZeroUsize::new(LONG).expect("above zero");
/// What a peer says who wishes ill: the next message has 4 GiB.
const LIE: &[u8] = &[0xFF; 4];

impl Program for Show {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        let words = || WORDS.map(|word| word.as_bytes().to_vec()).to_vec();
        let long = || vec![vec![b'x'; LONG]];
        output::print(&format!("TCP is a stream of bytes: it keeps no messages apart ({})", rt.engine()))?;

        let seen = transfer(&rt, Method::None, Method::None, LIMIT, Traffic { early: words(), then: vec![] }).await?;
        output::print(&format!(
            "\n1. Several sends, one receive: small messages stick together.\n   sent      {:<40} {} sends\n   \
             received  {:<40} {}",
            pieces(&words()),
            WORDS.len(),
            pieces(&seen.messages),
            receives(&seen)
        ))?;

        let seen = transfer(&rt, Method::None, Method::None, LIMIT, Traffic { early: vec![], then: long() }).await?;
        output::print(&format!(
            "\n2. One send, several receives: a long message comes apart.\n   sent      {:<40} 1 send\n   \
             received  {:<40} {}",
            pieces(&long()),
            pieces(&seen.messages),
            receives(&seen)
        ))?;

        output::print("\n3. The same four messages, with each way to say where one ends:")?;
        let sent: Vec<_> = words().into_iter().chain(long()).collect();
        let bytes: usize = sent.iter().map(Vec::len).sum();
        let header =
            ["codec", "taken for messages, bytes", "right", "bytes sent", "more than the messages", "receives"];
        let mut table = Table::new(3, header);
        for method in Method::ALL {
            let seen = transfer(&rt, method, method, LIMIT, Traffic { early: words(), then: long() }).await?;
            let right = if seen.error.is_none() && seen.messages == sent { "yes" } else { "NO" };
            table.row(
                None,
                [
                    method.name().to_owned(),
                    lengths(&seen.messages),
                    right.to_owned(),
                    grouped(seen.wire as f64),
                    grouped((seen.wire - bytes) as f64),
                    seen.receives.to_string(),
                ],
            );
        }
        output::print(&table.terminal(output::width()))?;

        let lie = Traffic { early: vec![LIE.to_vec()], then: vec![] };
        let seen = transfer(&rt, Method::None, Method::Prefix, LIMIT, lie).await?;
        let refusal = seen.error.map_or_else(|| "NOT REFUSED".to_owned(), |error: FrameError| error.to_string());
        output::prose(&format!(
            "\n4. A length is a peer's word: a header of ff ff ff ff is refused before any memory is taken for it.\n   \
             {refusal}\n\nLook at: who says NO, and what `fixed` sends. How many receives it takes differs from run to \
             run.\nNext: `demos framing serve --codec none`, then `--codec delimiter`; the code is in demos/src/framing/."
        ))
    }
}

/// Messages side by side: short ones as they are, long ones by their length.
fn pieces(messages: &[Vec<u8>]) -> String {
    let piece = |message: &Vec<u8>| match message.len() {
        0..=20 => format!("\"{}\"", message.escape_ascii()),
        len => format!("{} bytes", grouped(len as f64)),
    };
    side_by_side(messages, 3, piece)
}

/// The lengths of messages side by side.
fn lengths(messages: &[Vec<u8>]) -> String {
    side_by_side(messages, 4, |message| grouped(message.len() as f64))
}

fn side_by_side(messages: &[Vec<u8>], most: usize, piece: impl Fn(&Vec<u8>) -> String) -> String {
    let shown: Vec<_> = messages.iter().take(most).map(piece).collect();
    let more = if messages.len() > most { " ..." } else { "" };
    shown.join(" | ") + more
}

fn receives(seen: &Seen) -> String {
    match seen.receives {
        1 => "1 receive".to_owned(),
        more => format!("{more} receives"),
    }
}

//! `demos echo --client HOST:PORT`: stdin to the server, what comes back to stdout.
//!
//! Three parties: a thread reads stdin, because that blocks; a task sends; the main future receives.
//! They meet in a mailbox of a few pieces, so a slow server slows the reading of stdin.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use demos::connect::connect;
use demos::mailbox::{Receiver, Sender, mailbox};
use executor::{IoBuf, Reader, Runtime, Stream, Writer};

use crate::engine::{self, Engine, Program};
use crate::input::Input;
use crate::{args, output};

/// Pieces of stdin that may wait for the server.
const PIECES: usize = 4;
/// The size of a piece at most; a terminal delivers lines.
const PIECE: usize = 16 * 1024;
/// How long an attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Talks to the echo server until stdin and the server's answers have ended.
pub fn run(engine: Option<Engine>, server: &str) -> anyhow::Result<()> {
    let client = EchoClient { server: server.to_owned(), addresses: args::find(server)? };
    let (result, _stats) = engine::run(engine::for_client(engine)?, client)?;
    result
}

struct EchoClient {
    server: String,
    addresses: Vec<SocketAddr>,
}

impl Program for EchoClient {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        let hint = "is a server running there? `demos echo` starts one";
        let connected = connect(&rt, &self.addresses, CONNECT_TIME).await;
        let stream = connected.with_context(|| format!("cannot connect to {} ({hint})", self.server))?;
        let (mut from_server, to_server) = stream.split();
        let (stdin, pieces) = mailbox(PIECES);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || read_stdin(&stdin))?;
        let sending = rt.spawn(send(pieces, to_server));
        loop {
            let chunk = from_server.recv().await.context("the connection broke")?;
            if chunk.bytes().is_empty() {
                break;
            }
            if !output::write(chunk.bytes())? {
                return Ok(());
            }
        }
        if !sending.is_finished() {
            bail!("the server ended the connection");
        }
        match sending.await {
            Ok(sent) => sent,
            Err(error) => bail!("{error}"),
        }
    }
}

/// Sends what comes from stdin; after its end, tells the server so. What comes before an error of stdin is sent, too.
async fn send<W: Writer>(mut pieces: Receiver<io::Result<Vec<u8>>>, mut to_server: W) -> anyhow::Result<()> {
    const FAILED: &str = "cannot send to the server";
    let mut read = Ok(());
    while let Some(piece) = pieces.receive().await {
        match piece {
            Ok(piece) => to_server.write_all(piece).await.0.context(FAILED)?,
            Err(error) => read = Err(error),
        }
    }
    to_server.shutdown().await.context(FAILED)?;
    read.context("cannot read stdin")
}

/// Posts stdin piece by piece, as it comes, until it ends or nobody is interested.
fn read_stdin(pieces: &Sender<io::Result<Vec<u8>>>) {
    let mut stdin = Input::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = stdin.read(&mut buffer);
        let is_last = !matches!(read, Ok(1..));
        if matches!(read, Ok(0)) || pieces.post(read.map(|count| buffer[..count].to_vec())).is_err() || is_last {
            return;
        }
    }
}

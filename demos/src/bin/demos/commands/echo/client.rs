//! `demos echo --client HOST:PORT`: stdin to the server, what comes back to stdout.
//!
//! Three parties: a thread reads stdin, because that blocks; a task sends; the main future receives.
//! They meet in a mailbox of a few pieces, so a slow server slows the reading of stdin.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use demos::mailbox::{Receiver, Sender, mailbox};
use executor::{IoBuf, Reader, Runtime, Stream, Writer};

use crate::engine::{self, Engine, Program};
use crate::output;

/// Pieces of stdin that may wait for the server.
const PIECES: usize = 4;
/// The size of a piece at most; a terminal delivers lines.
const PIECE: usize = 16 * 1024;
/// How long an attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Talks to the echo server until stdin and the server's answers have ended.
pub fn run(engine: Option<Engine>, server: &str) -> anyhow::Result<()> {
    // The resolver of the C library blocks, so names are looked up before the runtime starts.
    let addresses = server
        .to_socket_addrs()
        .with_context(|| format!("cannot find {server}: give HOST:PORT, such as 127.0.0.1:8080"))?;
    let client = EchoClient { server: server.to_owned(), addresses: addresses.collect() };
    let (result, _stats) = engine::run(engine, client)?;
    result
}

struct EchoClient {
    server: String,
    addresses: Vec<SocketAddr>,
}

impl Program for EchoClient {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        let stream = self.connect(&rt).await?;
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
            Ok(sent) => sent.context("cannot send to the server"),
            Err(error) => bail!("{error}"),
        }
    }
}

impl EchoClient {
    /// Tries one address after the other.
    async fn connect<R: Runtime>(&self, rt: &R) -> anyhow::Result<R::Stream> {
        let mut failed = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            let connected = rt.timeout(CONNECT_TIME, rt.connect(*address)).await;
            match connected.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        let hint = "is a server running there? `demos echo` starts one";
        Err(failed).with_context(|| format!("cannot connect to {} ({hint})", self.server))
    }
}

/// Sends what comes from stdin; after its end, tells the server so.
async fn send<W: Writer>(mut pieces: Receiver<Vec<u8>>, mut to_server: W) -> io::Result<()> {
    while let Some(piece) = pieces.receive().await {
        to_server.write_all(piece).await.0?;
    }
    to_server.shutdown().await
}

/// Posts stdin piece by piece, as it comes, until it ends or nobody is interested.
fn read_stdin(pieces: &Sender<Vec<u8>>) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; PIECE];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) if pieces.post(buffer[..count].to_vec()).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

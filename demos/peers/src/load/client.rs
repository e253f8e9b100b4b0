//! The client: its connections, and the loop that drives them.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use socket2::{Domain, Socket, Type};

use super::dialogue::{Dialogue, Talk};
use super::ring::Ring;
use super::{Load, Service};

/// Bytes of an HTTP response, about; the size of receive buffers depends on it.
const RESPONSE: usize = 160;

/// How connections are used.
pub trait Shape {
    /// Called at each turn of the loop, before anything is submitted: sends what is due. Returns false
    /// when there is no more to do.
    fn turn(&mut self, client: &mut Client, now: u64) -> anyhow::Result<bool>;

    /// Bytes came on the connection `slot`, and completed this number of answers.
    fn arrived(&mut self, client: &mut Client, slot: usize, answers: u32, now: u64) -> anyhow::Result<()>;

    /// When it has something to do that nobody tells it of, in ns on the client's clock.
    fn due(&self) -> u64 {
        u64::MAX
    }
}

/// All connections to the server.
pub struct Client {
    pub load: Load,
    ring: Ring,
    dialogue: Dialogue,
    talks: Vec<Talk>,
    start: Instant,
    /// How long the server may be silent, in ns.
    patience: u64,
    /// Connections that wait for answers.
    waiting: usize,
    /// When the last bytes came, in ns on the client's clock.
    heard: u64,
}

impl Client {
    /// A client without connections.
    pub fn new(load: &Load) -> anyhow::Result<Client> {
        let (dialogue, message) = match load.service {
            Service::Echo => (Dialogue::echo(load.message, load.depth), load.message),
            Service::Http => (Dialogue::http(&load.path, load.depth), RESPONSE),
        };
        let batch = message * load.depth as usize;
        Ok(Client {
            load: load.clone(),
            ring: Ring::new(load.server, load.connections, batch, load.block)?,
            dialogue,
            talks: std::iter::repeat_with(Talk::default).take(load.connections).collect(),
            start: Instant::now(),
            patience: u64::try_from(load.patience.as_nanos())?,
            waiting: 0,
            heard: 0,
        })
    }

    /// The client's clock, in ns.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("584 years")
    }

    /// Whether there are answers to come.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// A connection's part.
    pub fn talk(&self, slot: usize) -> &Talk {
        &self.talks[slot]
    }

    /// Opens a connection.
    pub fn open(&mut self, slot: usize) -> anyhow::Result<()> {
        let server = self.load.server;
        let stream = TcpStream::connect_timeout(&server, self.load.patience);
        let stream = stream.with_context(|| format!("cannot connect to {server}: is the server running?"))?;
        let socket = prepared(stream.into())?;
        // The ring keeps the connection open; the descriptor has done its part.
        self.ring.adopt(slot, socket.as_fd())
    }

    /// Sends a batch on an open connection, counted from `since`.
    pub fn send(&mut self, slot: usize, since: u64) -> anyhow::Result<()> {
        let bytes = self.ask(slot, since);
        self.ring.send(slot, bytes)
    }

    /// Connects a new socket and sends a batch on it, counted from `since`. The receive is for one piece;
    /// [`Client::receive_once`] asks for the next.
    pub fn connect_and_send(&mut self, slot: usize, since: u64) -> anyhow::Result<OwnedFd> {
        let domain = Domain::for_address(self.load.server);
        let socket = Socket::new(domain, Type::STREAM, None).context("cannot open a socket")?;
        let socket = prepared(socket)?;
        let bytes = self.ask(slot, since);
        self.ring.connect(slot, socket.as_fd(), bytes)?;
        Ok(socket.into())
    }

    /// Receives once more on a socket of [`Client::connect_and_send`].
    pub fn receive_once(&mut self, slot: usize, socket: &OwnedFd) -> anyhow::Result<()> {
        self.ring.receive_once(slot, socket.as_fd())
    }

    fn ask(&mut self, slot: usize, since: u64) -> &'static [u8] {
        let talk = &mut self.talks[slot];
        talk.since = since;
        self.waiting += 1;
        self.dialogue.ask(talk)
    }

    /// Drives the connections until the shape has no more to do.
    pub fn drive(&mut self, shape: &mut impl Shape) -> anyhow::Result<()> {
        self.heard = self.now();
        loop {
            let now = self.now();
            if !shape.turn(self, now)? {
                return Ok(());
            }
            self.watch(now)?;
            let due = (self.heard + self.patience).min(shape.due());
            if self.ring.turn(Duration::from_nanos(due.saturating_sub(now)))? {
                self.take(shape)?;
            }
        }
    }

    /// Checks what came in. No more comes meanwhile: that needs a turn of the ring.
    fn take(&mut self, shape: &mut impl Shape) -> anyhow::Result<()> {
        while let Some(received) = self.ring.next()? {
            let now = self.now();
            self.heard = now;
            let slot = received.slot;
            let talk = &mut self.talks[slot];
            let was_open = talk.open > 0;
            let checked = self.dialogue.check(talk, self.ring.bytes(&received));
            let answers = checked.with_context(|| format!("connection {slot}: a wrong answer"))?;
            self.waiting -= usize::from(was_open && talk.open == 0);
            self.ring.recycle(received);
            shape.arrived(self, slot, answers, now)?;
        }
        Ok(())
    }

    /// Fails if the server is silent. It owes nothing while nobody waits.
    fn watch(&mut self, now: u64) -> anyhow::Result<()> {
        if self.waiting == 0 {
            self.heard = now;
        }
        if now.saturating_sub(self.heard) >= self.patience {
            bail!("the server said nothing for {:?}, and {} connections wait for it", self.load.patience, self.waiting);
        }
        Ok(())
    }
}

/// Sends small messages at once, and closes with a reset: a connection that is closed with FIN keeps its
/// port for a minute, and there are some 28,000 of them.
fn prepared(socket: Socket) -> anyhow::Result<Socket> {
    socket.set_tcp_nodelay(true).context("cannot set TCP_NODELAY")?;
    socket.set_linger(Some(Duration::ZERO)).context("cannot set SO_LINGER")?;
    Ok(socket)
}

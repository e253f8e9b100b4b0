//! A look at a connection from outside.

use std::rc::Rc;
use std::time::Duration;

use crate::net::TcpStream;
use crate::socket::Figures;
use crate::world::{Id, World};
use crate::{Sim, Stream};

/// What a program did with one end of a connection. It may be asked after that is gone, too.
#[derive(Clone)]
pub struct Probe {
    world: Rc<World>,
    id: Id,
    figures: Rc<Figures>,
}

impl Sim {
    fn id(&self, stream: &TcpStream) -> Id {
        let addresses = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
        let addresses = addresses.expect("an open stream has its addresses");
        self.world.state.borrow().by_address[&addresses]
    }

    /// A look at this end of a connection.
    #[must_use]
    pub fn probe(&self, stream: &TcpStream) -> Probe {
        let id = self.id(stream);
        let figures = Rc::clone(&self.world.state.borrow().sockets[&id].figures);
        Probe { world: Rc::clone(&self.world), id, figures }
    }

    /// Sets how many bytes from the other end this end holds, on the way and unread (`SO_RCVBUF`).
    pub fn set_buffer(&self, stream: &TcpStream, bytes: usize) {
        let id = self.id(stream);
        self.world.state.borrow_mut().set_buffer(id, bytes);
    }

    /// The close of this end will be a reset, as after `SO_LINGER` with zero.
    pub fn reset_on_close(&self, stream: &TcpStream) {
        let id = self.id(stream);
        self.world.state.borrow_mut().reset_on_close(id);
    }

    /// The network ends this connection: both ends are reset.
    pub fn reset(&self, stream: &TcpStream) {
        let id = self.id(stream);
        self.world.state.borrow_mut().reset(id);
    }
}

impl Probe {
    /// Bytes the program received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.figures.received.get()
    }

    /// Bytes it sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.figures.sent.get()
    }

    /// How often it wrote something.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.figures.writes.get()
    }

    /// How often it wrote after it had ended its side.
    #[must_use]
    pub fn refused_writes(&self) -> u64 {
        self.figures.refused_writes.get()
    }

    /// Chunks of this connection that the program holds.
    #[must_use]
    pub fn chunks_lent(&self) -> u64 {
        self.figures.lent.get()
    }

    /// Whether some task waits for this connection.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let state = self.world.state.borrow();
        state.sockets.get(&self.id).is_some_and(|socket| socket.reader.is_some() || socket.writer.is_some())
    }

    /// Whether the network has ended the connection, by [`Sim::reset`] or as [`resets`](crate::Weather::resets) has it.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.figures.was_reset.get()
    }

    /// When it ended its writing side, if it did: the time since the start.
    #[must_use]
    pub fn shut_down_at(&self) -> Option<Duration> {
        self.figures.shut_down.get()
    }

    /// When it closed the connection, if it did: the time since the start.
    #[must_use]
    pub fn closed_at(&self) -> Option<Duration> {
        self.figures.closed.get()
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.id).field(&self.figures).finish()
    }
}

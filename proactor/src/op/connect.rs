//! Connects and accepts.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use executor::Fired;
use io_uring::{opcode, squeue};
use socket2::SockAddr;

use crate::pool::Chunk;
use crate::ring::completion::Completion;
use crate::socket::{ACCEPT_CAP, Demand, Socket};

/// Accepts again and again, or once.
pub(crate) struct Accept {
    pub(crate) socket: Rc<Socket<OwnedFd>>,
    pub(crate) is_multishot: bool,
}

impl Accept {
    pub(super) fn entry(&self) -> squeue::Entry {
        let (fd, flags) = (self.socket.entry_fd(), libc::SOCK_CLOEXEC);
        if self.is_multishot {
            return opcode::AcceptMulti::new(fd).flags(flags).build();
        }
        opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(flags).build()
    }

    pub(super) fn fill(&mut self, completion: Completion, fired: &mut Fired) -> Demand {
        let (result, is_final) = (completion.result, !completion.is_more());
        // SAFETY: this is a completion of this accept, which completes once for each connection.
        let connection = unsafe { completion.into_descriptor() };
        let incoming = &self.socket.incoming;
        let demand = connection.map_or(Demand::More, |connection| incoming.push(connection, ACCEPT_CAP, fired));
        if is_final {
            incoming.ended((result < 0).then_some(result), fired);
        }
        demand
    }
}

/// Connects a stream.
pub(crate) struct Connect {
    pub(super) socket: Rc<Socket<Chunk>>,
    /// On the heap, so that the kernel finds it even if this value moves.
    addr: Box<SockAddr>,
}

impl Connect {
    pub(crate) fn new(socket: Rc<Socket<Chunk>>, addr: SockAddr) -> Connect {
        Connect { socket, addr: Box::new(addr) }
    }

    pub(super) fn entry(&self) -> squeue::Entry {
        opcode::Connect::new(self.socket.entry_fd(), self.addr.as_ptr().cast(), self.addr.len()).build()
    }
}

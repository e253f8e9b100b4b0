//! Datagrams: one operation receives them, another sends one.

use std::rc::Rc;

use executor::{Datagram, Fired, LENT_DATAGRAM};
use io_uring::{opcode, squeue};
use socket2::SockAddr;

use crate::buffer::Buffer;
use crate::pool::{BLOCK_SIZE, Chunk, Pool};
use crate::ring::buffers::Group;
use crate::ring::completion::Completion;
use crate::ring::message::{Message, NAME_SIZE, sockaddr};
use crate::socket::{Demand, Socket};

/// The most datagrams that may lie undelivered on a socket. At this number, its receive is stopped
/// until a program takes them. Later ones, except those already on their way, stay with the kernel,
/// which drops what exceeds the socket's buffer.
const DATAGRAM_CAP: usize = 16;
/// Size of `struct io_uring_recvmsg_out`: four numbers.
pub(crate) const LENGTHS: usize = 16;
pub(crate) const HEAD: usize = LENGTHS + NAME_SIZE;
const _: () = assert!(HEAD + LENT_DATAGRAM == BLOCK_SIZE);

/// A datagram that has arrived on a socket.
pub(crate) type Arrived = Datagram<Chunk, SockAddr>;

/// Receives again and again into the pool's blocks, or once into its own memory.
pub(crate) struct Receive {
    pub(crate) socket: Rc<Socket<Arrived>>,
    pub(crate) message: Rc<Message>,
    /// `None` if the kernel picks the buffer, or once the memory is filled.
    pub(crate) memory: Option<Vec<u8>>,
}

/// Sends a datagram.
pub(crate) struct SendMessage {
    pub(crate) socket: Rc<Socket<Arrived>>,
    pub(crate) message: Rc<Message>,
    pub(crate) buffer: Buffer,
    /// The message points to this address.
    pub(crate) _to: Option<Box<SockAddr>>,
    pub(crate) flags: u32,
}

impl Receive {
    /// Makes the submission.
    pub(crate) fn entry(&self) -> squeue::Entry {
        let (fd, message, flags) = (self.socket.entry_fd(), self.message.as_ptr(), libc::MSG_TRUNC.unsigned_abs());
        match self.memory {
            None => opcode::RecvMsgMulti::new(fd, message, Group::Datagrams as u16).flags(flags).build(),
            Some(_) => opcode::RecvMsg::new(fd, message).flags(flags).build(),
        }
    }

    /// Gives what arrived to the socket.
    pub(crate) fn fill(&mut self, completion: &Completion, pool: &Rc<Pool>, fired: &mut Fired) -> Demand {
        // A receive that is not multishot completes once. Before that, the memory is the kernel's.
        if self.memory.is_some() && completion.is_more() {
            return Demand::More;
        }
        let count = usize::try_from(completion.result);
        let chunk = match self.memory.take() {
            None => pool.take(Group::Datagrams, completion),
            Some(mut memory) => count.ok().map(|len| {
                memory[..4].copy_from_slice(&self.message.name_len().to_ne_bytes());
                memory[8..12].copy_from_slice(&completion.result.to_ne_bytes());
                let filled = memory.len().min(HEAD + len);
                pool.adopt(memory, filled)
            }),
        };
        let push = |chunk| self.socket.incoming.push(behead(chunk), DATAGRAM_CAP, fired);
        let demand = chunk.map_or(Demand::More, push);
        if !completion.is_more() {
            // ENOBUFS is not reported: the waiting task tries again, with a bigger pool or without
            // one.
            let end = completion.result;
            self.socket.incoming.ended((end < 0 && end != -libc::ENOBUFS).then_some(end), fired);
        }
        demand
    }
}

/// Splits the head from the datagram behind it.
fn behead(mut chunk: Chunk) -> Arrived {
    let mut head = [0; HEAD];
    chunk.move_to(&mut head);
    let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
    Datagram { bytes: chunk, len: number(8), from: sockaddr(&head[LENGTHS..][..number(0).min(NAME_SIZE)]) }
}

impl SendMessage {
    /// Makes the submission.
    pub(crate) fn entry(&self) -> squeue::Entry {
        opcode::SendMsg::new(self.socket.entry_fd(), self.message.as_ptr()).flags(self.flags).build()
    }
}

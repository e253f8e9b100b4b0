//! Receives on a stream: again and again into the pool's blocks, once into its own memory, or into
//! a program's buffer.

use std::rc::Rc;

use executor::Fired;
use io_uring::{opcode, squeue};

use super::send::OWN_POSITION;
use crate::buffer::{Buffer, clamp};
use crate::pool::{Chunk, Pool};
use crate::ring::buffers::Group;
use crate::ring::completion::Completion;
use crate::socket::{CHUNK_CAP, Demand, Socket};

/// Receives again and again, into blocks of the pool.
pub(crate) struct RecvMultishot {
    pub(crate) socket: Rc<Socket<Chunk>>,
}

impl RecvMultishot {
    pub(super) fn entry(&self) -> squeue::Entry {
        opcode::RecvMulti::new(self.socket.entry_fd(), Group::Streams as u16).build()
    }

    pub(super) fn fill(&mut self, completion: &Completion, pool: &Rc<Pool>, fired: &mut Fired) -> Demand {
        let result = completion.result;
        let chunk = pool.take(Group::Streams, completion).filter(|chunk| !chunk.is_empty());
        let demand = chunk.map_or(Demand::More, |chunk| self.socket.incoming.push(chunk, CHUNK_CAP, fired));
        if !completion.is_more() {
            // ENOBUFS is not reported: the waiting task tries again, with more blocks or without
            // the pool.
            self.socket.incoming.ended((result <= 0 && result != -libc::ENOBUFS).then_some(result), fired);
        }
        demand
    }
}

/// Receives once, into its own memory.
pub(crate) struct RecvOnce {
    pub(crate) socket: Rc<Socket<Chunk>>,
    /// `None` once it is filled.
    memory: Option<Vec<u8>>,
}

impl RecvOnce {
    pub(crate) fn new(socket: Rc<Socket<Chunk>>, memory: Vec<u8>) -> RecvOnce {
        RecvOnce { socket, memory: Some(memory) }
    }

    pub(super) fn entry(&mut self) -> squeue::Entry {
        let memory = self.memory.as_mut().expect("not filled yet");
        receive(&self.socket, (memory.as_mut_ptr(), memory.len()))
    }

    pub(super) fn fill(&mut self, completion: &Completion, pool: &Rc<Pool>, fired: &mut Fired) {
        // This is not multishot: before its final completion, the memory is the kernel's.
        if completion.is_more() {
            return;
        }
        let (result, incoming) = (completion.result, &self.socket.incoming);
        if let Some((count @ 1.., memory)) = usize::try_from(result).ok().zip(self.memory.take()) {
            // There is only one at a time, so there is never too much.
            let _ = incoming.push(pool.adopt(memory, count), usize::MAX, fired);
        }
        incoming.ended((result <= 0).then_some(result), fired);
    }
}

/// Receives once, into the program's buffer.
pub(crate) struct Read {
    pub(crate) socket: Rc<Socket<Chunk>>,
    pub(crate) buffer: Buffer,
}

impl Read {
    pub(super) fn entry(&mut self) -> squeue::Entry {
        receive(&self.socket, self.buffer.place())
    }

    /// Gives what the read brought to the stream, because its future is gone.
    pub(super) fn settle(mut self, result: i32, pool: &Rc<Pool>, fired: &mut Fired) -> Buffer {
        let incoming = &self.socket.incoming;
        if let Ok(count @ 1..) = usize::try_from(result) {
            let _ = incoming.push(salvage(&mut self.buffer, count, pool), usize::MAX, fired);
        }
        // Report an error to the next caller: a reset must not look like an orderly end. A read
        // without room, by a buffer that breaks its contract, is no end.
        let is_end = result < 0 || self.buffer.place().1 > 0;
        incoming.ended((result <= 0 && is_end && result != -libc::ECANCELED).then_some(result), fired);
        self.buffer
    }
}

/// Makes the submission that receives: recv(2), or read(2) if this is not a socket.
fn receive(socket: &Socket<Chunk>, (start, len): (*mut u8, usize)) -> squeue::Entry {
    match socket.is_pipe.get() {
        true => opcode::Read::new(socket.entry_fd(), start, clamp(len)).offset(OWN_POSITION).build(),
        false => opcode::Recv::new(socket.entry_fd(), start, clamp(len)).build(),
    }
}

/// Saves the bytes that a receive brought after its future was gone.
fn salvage(buffer: &mut Buffer, count: usize, pool: &Rc<Pool>) -> Chunk {
    if let Buffer::Vec(vec) = buffer {
        return pool.adopt(std::mem::take(vec), count);
    }
    let (start, _) = buffer.place();
    // SAFETY: the receive is over, and wrote `count` bytes from `start` on, into memory that
    // `buffer` owns and nothing else refers to.
    let bytes = unsafe { std::slice::from_raw_parts(start, count) };
    pool.adopt(bytes.to_vec(), count)
}

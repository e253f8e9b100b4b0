//! The near end as a task of a runtime: while it waits, its thread is free for other tasks. Possible for all that has a
//! descriptor which can be read: pipes, sockets, eventfds. (A message queue and a signal can be made such, by polling
//! the queue's descriptor and by signalfd.)
//!
//! The two kinds of runtime differ as they do with TCP: one is told that the descriptor can be read, and reads; the
//! other has the kernel read, and is told that it is done.

use std::io::{self, ErrorKind};

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use executor::{Net, RandomAccess, UnixDatagram};
use hdrhistogram::Histogram;
use proactor::{File, Proactor};
use reactor::{AsyncFd, Direction, Reactor, Trigger};

use super::Way;
use super::channel::{Channel, Descriptors, LAST, MESSAGE, Message, Shelf, message, whole};
use super::latency::{IN_A_ROW, Partner, Place, WARM_UP, check, histogram, record};
use super::shared_memory::NEWS;
use crate::engine::{self, Engine};

/// Whether a task can wait for this.
pub fn can_await(way: Way) -> bool {
    !matches!(way, Way::MessageQueue | Way::Signal)
}

/// A runtime that can read and write any descriptor.
trait Descriptive: Net {
    type Io;

    fn adopt(&self, descriptor: OwnedFd) -> io::Result<Self::Io>;
    /// Reads some bytes: how many, 0 at the end.
    async fn read(io: &mut Self::Io, buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)>;
    /// Writes some bytes: how many.
    async fn write(io: &mut Self::Io, bytes: Vec<u8>) -> io::Result<usize>;
}

impl Descriptive for Reactor {
    type Io = AsyncFd;

    fn adopt(&self, descriptor: OwnedFd) -> io::Result<AsyncFd> {
        AsyncFd::new(self, descriptor)
    }

    async fn read(io: &mut AsyncFd, mut buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        let count = io.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut buffer)?)).await?;
        Ok((count, buffer))
    }

    async fn write(io: &mut AsyncFd, bytes: Vec<u8>) -> io::Result<usize> {
        io.io(Direction::Write, |fd| Ok(rustix::io::write(fd, &bytes)?)).await
    }
}

impl Descriptive for Proactor {
    type Io = File;

    fn adopt(&self, descriptor: OwnedFd) -> io::Result<File> {
        File::from_std(self, descriptor.into())
    }

    async fn read(io: &mut File, buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        // What can't be sought has no offsets.
        let (count, buffer) = io.read_at(buffer, 0).await;
        Ok((count?, buffer))
    }

    async fn write(io: &mut File, bytes: Vec<u8>) -> io::Result<usize> {
        io.write_at(bytes, 0).await.0
    }
}

/// As [`measure`](super::latency::measure), with a task at the near end and a process at the far one.
pub fn measure(engine: Engine, way: Way, time: Duration) -> anyhow::Result<Histogram<u64>> {
    match engine {
        Engine::ReactorLevel => run(engine::reactor(Trigger::Level)?, way, time),
        Engine::ReactorEdge => run(engine::reactor(Trigger::Edge)?, way, time),
        Engine::Proactor => run(engine::proactor(false)?, way, time),
    }
}

fn run<R: Descriptive>(rt: R, way: Way, time: Duration) -> anyhow::Result<Histogram<u64>> {
    let Channel { near, far, names } = way.open().context("cannot set it up")?;
    let partner = Partner::start(way, Place::Process, far)?;
    // The process is ready, so it has opened what it needs.
    drop(names);
    let descriptors = near.into_descriptors().context("nothing to wait for")?;
    let times = rt.block_on(converse(&rt, descriptors, time))?;
    partner.end()?;
    Ok(times)
}

async fn converse<R: Descriptive>(rt: &R, near: Descriptors, time: Duration) -> anyhow::Result<Histogram<u64>> {
    let mut near = Near::new(rt, near)?;
    let (mut times, mut asked, mut end) = (histogram()?, 0, None);
    loop {
        for _ in 0..IN_A_ROW {
            let question = message(2 * asked);
            let sent = rt.now();
            near.send(&question).await.context("cannot send")?;
            let answer = near.receive().await.context("cannot receive")?;
            let took = rt.now() - sent;
            check(&answer, 2 * asked)?;
            if asked >= WARM_UP {
                record(&mut times, took);
            }
            asked += 1;
        }
        let end = *end.get_or_insert_with(|| rt.now() + time);
        if asked > WARM_UP && rt.now() >= end {
            break;
        }
    }
    near.send(&message(LAST)).await.context("cannot tell the far end to end")?;
    Ok(times)
}

/// The near end.
enum Near<R: Descriptive> {
    Stream {
        reads: R::Io,
        writes: R::Io,
    },
    /// The news that a message lies in the memory goes to an eventfd. That never waits: it adds to a counter. (io_uring
    /// would have a worker thread write it, which takes ten times as long as all the rest.)
    Memory {
        shelf: Box<dyn Shelf>,
        reads: R::Io,
        writes: OwnedFd,
    },
    Datagrams(UnixDatagram<R::Port>),
}

impl<R: Descriptive> Near<R> {
    fn new(rt: &R, near: Descriptors) -> io::Result<Near<R>> {
        Ok(match near {
            Descriptors::Stream { reads, writes } => {
                Near::Stream { reads: rt.adopt(reads)?, writes: rt.adopt(writes)? }
            }
            Descriptors::Memory { shelf, reads, writes } => Near::Memory { shelf, reads: rt.adopt(reads)?, writes },
            Descriptors::Datagrams(socket) => Near::Datagrams(UnixDatagram::from_std(rt, socket)?),
        })
    }

    async fn send(&mut self, message: &Message) -> io::Result<()> {
        match self {
            Near::Stream { writes, .. } => {
                let mut written = 0;
                while written < MESSAGE {
                    written += R::write(writes, message[written..].to_vec()).await?;
                }
                Ok(())
            }
            Near::Memory { shelf, writes, .. } => {
                shelf.put(message);
                rustix::io::write(writes, &NEWS)?;
                Ok(())
            }
            Near::Datagrams(socket) => socket.send(message.to_vec()).await.0,
        }
    }

    async fn receive(&mut self) -> io::Result<Message> {
        match self {
            Near::Stream { reads, .. } => {
                let mut message = [0; MESSAGE];
                fill::<R>(reads, &mut message).await?;
                Ok(message)
            }
            Near::Memory { shelf, reads, .. } => {
                // How often there was news.
                fill::<R>(reads, &mut [0; 8]).await?;
                Ok(shelf.take())
            }
            Near::Datagrams(socket) => whole(&socket.recv().await?),
        }
    }
}

async fn fill<R: Descriptive>(io: &mut R::Io, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let (count, buffer) = R::read(io, vec![0; bytes.len() - filled]).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes[filled..filled + count].copy_from_slice(&buffer[..count]);
        filled += count;
    }
    Ok(())
}

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
use executor::{RandomAccess, Runtime};
use hdrhistogram::Histogram;
use proactor::{File, Proactor};
use reactor::{AsyncFd, Direction, Reactor, Trigger};

use super::latency::{IN_A_ROW, Partner, Place, WARM_UP, check, histogram, record};
use super::shared_memory::NEWS;
use super::{Channel, Descriptors, LAST, MESSAGE, Message, Way, message};
use crate::engine::{self, Engine};

/// Whether a task can wait for this.
pub fn can_await(way: Way) -> bool {
    !matches!(way, Way::MessageQueue | Way::Signal)
}

/// A runtime that can read and write any descriptor.
trait Descriptive: Runtime {
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
    let (mut reads, mut writes) = (rt.adopt(near.reads)?, rt.adopt(near.writes)?);
    let (mut times, mut asked, mut end) = (histogram()?, 0, None);
    loop {
        for _ in 0..IN_A_ROW {
            let question = message(2 * asked);
            let sent = rt.now();
            let answer = match &near.halves {
                None => {
                    write_all::<R>(&mut writes, &question).await?;
                    Message::try_from(read_exact::<R>(&mut reads, MESSAGE).await?).expect("it has this length")
                }
                Some(halves) => {
                    halves.put(&question);
                    write_all::<R>(&mut writes, &NEWS).await?;
                    read_exact::<R>(&mut reads, NEWS.len()).await?;
                    halves.take()
                }
            };
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
    match &near.halves {
        None => write_all::<R>(&mut writes, &message(LAST)).await?,
        Some(halves) => {
            halves.put(&message(LAST));
            write_all::<R>(&mut writes, &NEWS).await?;
        }
    }
    Ok(times)
}

async fn write_all<R: Descriptive>(io: &mut R::Io, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += R::write(io, bytes[written..].to_vec()).await?;
    }
    Ok(())
}

async fn read_exact<R: Descriptive>(io: &mut R::Io, length: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(length);
    while all.len() < length {
        let (count, buffer) = R::read(io, vec![0; length - all.len()]).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&buffer[..count]);
    }
    Ok(all)
}

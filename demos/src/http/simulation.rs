//! A runtime without a kernel, for tests: time passes only when nobody has anything to do, and the
//! network does what a script says. A timeout of ten seconds takes no time and ends exactly then.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{
    BufResult, Config, Driver, DriverStats, Executor, Fired, IoBuf, IoBufMut, ListenOptions, Listener, Reader, Runtime,
    Stream, Unpark, Writer,
};

use super::connection::connection;
use super::site::Site;

/// What a client does, and when, counted from the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Sent bytes; none at all stand for the end of the client's output.
    pub sends: Vec<(Duration, Vec<u8>)>,
    /// How many bytes of the responses it takes before it stops reading.
    pub reads: Option<usize>,
    /// How many bytes it takes at once, and how long each time.
    pub pace: Option<(usize, Duration)>,
    /// When the runtime is asked to stop.
    pub stop: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub output: Vec<u8>,
    /// When the server was done with the connection.
    pub ended: Duration,
    /// When it ended its output, if it did so before it was done.
    pub shut_down: Option<Duration>,
    /// How often it wrote.
    pub writes: usize,
    /// How often its task was polled.
    pub polls: u64,
    /// How many of the script's bytes it never received.
    pub unread: usize,
}

impl Script {
    /// Everything in these pieces, a millisecond apart, and then the end.
    pub(crate) fn in_pieces<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Script {
        let mut script = Script::default();
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            script = script.send(1, piece);
        }
        script.send(1, b"")
    }

    /// Sends this so many milliseconds after what was sent before.
    pub(crate) fn send(mut self, after_ms: u64, bytes: &[u8]) -> Script {
        let last = self.sends.last().map_or(Duration::ZERO, |(at, _)| *at);
        self.sends.push((last + Duration::from_millis(after_ms), bytes.to_vec()));
        self
    }

    /// Plays the client against [`connection`].
    pub(crate) fn play(&self, site: Rc<Site>) -> Transcript {
        let start = Instant::now();
        let clock = Rc::new(Cell::new(start));
        let executor = Executor::new(VirtualTime(Rc::clone(&clock)), Config::default());
        let rt = Simulation(executor.clone());
        let wire = Rc::new(Wire {
            arrivals: self.sends.iter().map(|(at, bytes)| (start + *at, bytes.clone())).collect::<VecDeque<_>>().into(),
            written: RefCell::default(),
            capacity: Cell::new(self.reads.unwrap_or(usize::MAX)),
            pace: self.pace,
            writes: Cell::new(0),
            lent: Rc::default(),
            shut_down: Cell::new(None),
        });
        if let Some(at) = self.stop {
            let rt = rt.clone();
            drop(executor.spawn(async move {
                rt.sleep(at).await;
                rt.stop();
            }));
        }
        let stream = SimStream { rt: rt.clone(), wire: Rc::clone(&wire) };
        executor.block_on(connection(rt, stream, site));
        assert_eq!(wire.lent.get(), 0, "a chunk outlived its connection");
        Transcript {
            output: wire.written.take(),
            ended: clock.get() - start,
            shut_down: wire.shut_down.get().map(|at| at - start),
            writes: wire.writes.get(),
            polls: executor.stats().polls,
            unread: wire.arrivals.take().iter().map(|(_, bytes)| bytes.len()).sum(),
        }
    }
}

/// A driver whose every sleep is over at once, at the time it was to end.
struct VirtualTime(Rc<Cell<Instant>>);

impl Driver for VirtualTime {
    fn turn(&mut self, timeout: Option<Duration>, _fired: &mut Fired) -> io::Result<()> {
        let timeout = timeout.expect("everybody waits for what will never come");
        self.0.set(self.0.get() + timeout);
        Ok(())
    }

    fn close(&mut self) {}

    fn drain(&mut self, _deadline: Instant, _fired: &mut Fired) -> io::Result<()> {
        Ok(())
    }

    fn now(&self) -> Instant {
        self.0.get()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Nobody)
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }
}

/// There is no other thread, so there is nobody to wake.
struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

#[derive(Clone)]
struct Simulation(Executor<VirtualTime>);

impl Deref for Simulation {
    type Target = Executor<VirtualTime>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Runtime for Simulation {
    type Listener = NoListener;
    type Stream = SimStream;
    type Driver = VirtualTime;

    fn listen(&self, _addr: SocketAddr, _options: &ListenOptions) -> io::Result<NoListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _addr: SocketAddr) -> io::Result<SimStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn engine(&self) -> &'static str {
        "simulation"
    }
}

struct NoListener;

impl Listener for NoListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<SimStream> {
        pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The network between a script and the server.
struct Wire {
    arrivals: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    written: RefCell<Vec<u8>>,
    /// Bytes the client still takes.
    capacity: Cell<usize>,
    pace: Option<(usize, Duration)>,
    writes: Cell<usize>,
    /// Chunks out on loan.
    lent: Rc<Cell<usize>>,
    shut_down: Cell<Option<Instant>>,
}

struct SimStream {
    rt: Simulation,
    wire: Rc<Wire>,
}

/// As small as a kernel buffer may be.
const CHUNK: usize = 4096;

struct SimChunk {
    bytes: Vec<u8>,
    lent: Rc<Cell<usize>>,
}

impl IoBuf for SimChunk {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SimChunk {
    fn drop(&mut self) {
        self.lent.set(self.lent.get() - 1);
    }
}

impl Reader for SimStream {
    type Chunk = SimChunk;

    async fn recv(&mut self) -> io::Result<SimChunk> {
        let wire = &self.wire;
        assert_eq!(wire.lent.get(), 0, "a chunk is kept while its connection waits");
        let arrival = wire.arrivals.borrow().front().map(|(at, _)| *at);
        let Some(at) = arrival else { return pending().await };
        self.rt.sleep_until(at).await;
        let mut arrivals = wire.arrivals.borrow_mut();
        let Some((_, bytes)) = arrivals.front_mut() else { return Err(io::ErrorKind::Other.into()) };
        // The end stays: it is read again and again.
        let rest = bytes.split_off(bytes.len().min(CHUNK));
        let bytes = std::mem::replace(bytes, rest);
        if !bytes.is_empty() && arrivals.front().is_some_and(|(_, rest)| rest.is_empty()) {
            arrivals.pop_front();
        }
        wire.lent.set(wire.lent.get() + 1);
        Ok(SimChunk { bytes, lent: Rc::clone(&wire.lent) })
    }

    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        (Err(io::ErrorKind::Unsupported.into()), buf)
    }
}

impl Writer for SimStream {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let wire = &self.wire;
        assert_eq!(wire.lent.get(), 0, "a chunk is kept while its connection writes");
        assert_eq!(wire.shut_down.get(), None, "written after the end");
        if wire.capacity.get() == 0 {
            return pending().await;
        }
        let mut count = buf.bytes().len().min(wire.capacity.get());
        if let Some((most, time)) = wire.pace {
            self.rt.sleep(time).await;
            count = count.min(most);
        }
        wire.written.borrow_mut().extend_from_slice(&buf.bytes()[..count]);
        wire.capacity.set(wire.capacity.get() - count);
        wire.writes.set(wire.writes.get() + 1);
        (Ok(count), buf)
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        (Err(io::ErrorKind::Unsupported.into()), buf)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.wire.shut_down.set(Some(self.rt.now()));
        Ok(())
    }
}

impl Stream for SimStream {
    type ReadHalf = SimStream;
    type WriteHalf = SimStream;

    fn split(self) -> (SimStream, SimStream) {
        (SimStream { rt: self.rt.clone(), wire: Rc::clone(&self.wire) }, self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

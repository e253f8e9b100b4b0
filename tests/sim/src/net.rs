//! TCP as the executor's `tcp.rs` asks for it, so that what programs rely on (halves, broken writes, an accept
//! loop that pauses) is the very code that runs over epoll and io_uring.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use executor::{Acceptor, BufResult, Connection, IoBuf, IoBufMut, ListenOptions, Runtime, closed};

use crate::Sim;
use crate::driver::SimDriver;
use crate::socket::Figures;
use crate::world::{Id, Old, State, World};

/// Listens for simulated TCP connections.
pub type TcpListener = executor::TcpListener<ListenSocket>;
/// A simulated TCP connection.
pub type TcpStream = executor::TcpStream<StreamSocket>;
/// The reading side of a [`TcpStream`].
pub type ReadHalf = executor::ReadHalf<StreamSocket>;
/// The writing side of a [`TcpStream`].
pub type WriteHalf = executor::WriteHalf<StreamSocket>;

impl Runtime for Sim {
    type Listener = TcpListener;
    type Stream = TcpStream;
    type Driver = SimDriver;

    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
        TcpListener::bind_with(self, addr, options)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(self, addr).await
    }

    fn engine(&self) -> &'static str {
        "sim"
    }
}

/// One thing a task waits for, and how that is given up.
struct Wait<'a> {
    world: &'a World,
    id: Id,
    cancel: fn(&mut State, Id) -> Old,
    is_first: bool,
    is_waiting: bool,
}

impl<'a> Wait<'a> {
    fn new(world: &'a World, id: Id, cancel: fn(&mut State, Id) -> Old) -> Wait<'a> {
        Wait { world, id, cancel, is_first: true, is_waiting: false }
    }

    /// Asks; `ask` learns whether it is for the first time, and whom to wake.
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        ask: impl FnOnce(&mut State, Id, bool, Waker) -> (Poll<Result<T, i32>>, Old),
    ) -> Poll<io::Result<T>> {
        if self.world.is_closed.get() {
            return Poll::Ready(Err(closed()));
        }
        let waker = cx.waker().clone();
        let (answer, old) = ask(&mut self.world.state.borrow_mut(), self.id, self.is_first, waker);
        drop(old);
        self.is_first = false;
        self.is_waiting = answer.is_pending();
        answer.map_err(io::Error::from_raw_os_error)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.is_waiting {
            let old = (self.cancel)(&mut self.world.state.borrow_mut(), self.id);
            drop(old);
        }
    }
}

/// What is behind a [`TcpListener`].
pub struct ListenSocket {
    sim: Sim,
    id: Id,
}

impl Acceptor for ListenSocket {
    type Runtime = Sim;
    type Connection = StreamSocket;

    fn bind(sim: &Sim, addr: SocketAddr, options: &ListenOptions) -> io::Result<ListenSocket> {
        let id = sim.world.ask(|state| state.listen(addr, options.backlog))?;
        Ok(ListenSocket { sim: sim.clone(), id })
    }

    fn from_std(_sim: &Sim, _listener: std::net::TcpListener) -> io::Result<ListenSocket> {
        Err(no_kernel())
    }

    async fn accept(&self) -> io::Result<StreamSocket> {
        let mut wait = Wait::new(&self.sim.world, self.id, State::cancel_accept);
        let id = poll_fn(|cx| wait.poll(cx, State::poll_accept)).await?;
        Ok(StreamSocket { world: Rc::clone(&self.sim.world), id })
    }

    fn runtime(&self) -> &Sim {
        &self.sim
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.sim.world.state.borrow().listeners[&self.id].addr)
    }
}

impl Drop for ListenSocket {
    fn drop(&mut self) {
        let old = self.sim.world.state.borrow_mut().stop_listening(self.id);
        drop(old);
    }
}

impl fmt::Debug for ListenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListenSocket").field(&self.id).finish()
    }
}

fn no_kernel() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "there is no kernel here that could have made it: use listen and connect",
    )
}

/// What is behind a [`TcpStream`].
pub struct StreamSocket {
    pub(crate) world: Rc<World>,
    pub(crate) id: Id,
}

impl StreamSocket {
    fn wait(&self, cancel: fn(&mut State, Id) -> Old) -> Wait<'_> {
        Wait::new(&self.world, self.id, cancel)
    }

    fn figures(&self) -> Rc<Figures> {
        Rc::clone(&self.world.state.borrow().sockets[&self.id].figures)
    }
}

impl Connection for StreamSocket {
    type Runtime = Sim;
    type Chunk = Chunk;

    async fn connect(sim: &Sim, addr: SocketAddr) -> io::Result<StreamSocket> {
        let id = sim.world.ask(|state| state.start_connecting(addr))?;
        let socket = StreamSocket { world: Rc::clone(&sim.world), id };
        let mut wait = socket.wait(|_, _| None);
        poll_fn(|cx| wait.poll(cx, |state, id, _, waker| state.poll_connected(id, waker))).await?;
        drop(wait);
        Ok(socket)
    }

    fn from_std(_sim: &Sim, _stream: std::net::TcpStream) -> io::Result<StreamSocket> {
        Err(no_kernel())
    }

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> + Unpin {
        let mut wait = self.wait(State::cancel_receive);
        poll_fn(move |cx| {
            let ask = |state: &mut State, id, is_first, waker| {
                let most = state.weather.chunk;
                state.poll_receive(id, most, is_first, waker)
            };
            let bytes = ready!(wait.poll(cx, ask))?;
            Poll::Ready(Ok(Chunk::new(bytes, &self.world, self.figures())))
        })
    }

    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<usize, B> {
        let space = buf.bytes_mut();
        let mut wait = self.wait(State::cancel_receive);
        let most = space.len();
        let ask = |state: &mut State, id, is_first, waker| state.poll_receive(id, most, is_first, waker);
        let result = poll_fn(|cx| wait.poll(cx, ask)).await;
        let result = result.map(|bytes| {
            space[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (result, buf)
    }

    fn send<B: IoBuf>(&self, buf: B, whole: bool) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        let mut wait = self.wait(State::cancel_send);
        let (mut buf, mut sent, mut is_submitted) = (Some(buf), 0, false);
        poll_fn(move |cx| {
            let bytes = buf.as_ref().expect("polled again after it was ready").bytes();
            let result = loop {
                if sent == bytes.len() || (sent > 0 && !whole) {
                    break Ok(sent);
                }
                let polled = wait.poll(cx, |state, id, is_first, waker| {
                    is_submitted = is_submitted || (is_first && state.submit_send(id, bytes, whole));
                    if is_submitted {
                        state.poll_submitted(id, waker)
                    } else {
                        state.poll_send(id, &bytes[sent..], waker)
                    }
                });
                match ready!(polled) {
                    Ok(count) => sent += count,
                    Err(error) => break Err(error),
                }
            };
            Poll::Ready((result, buf.take().expect("just seen")))
        })
    }

    /// As one: nobody sees the difference.
    fn send_all<B: IoBuf>(&self, bufs: Vec<B>) -> impl Future<Output = BufResult<usize, Vec<B>>> + Unpin {
        let mut sending = self.send(bufs.iter().map(IoBuf::bytes).collect::<Vec<_>>().concat(), true);
        let mut bufs = Some(bufs);
        poll_fn(move |cx| {
            let (result, _) = ready!(Pin::new(&mut sending).poll(cx));
            Poll::Ready((result, bufs.take().expect("polled again after it was ready")))
        })
    }

    fn is_cut(&self) -> bool {
        self.world.state.borrow().sockets[&self.id].is_cut
    }

    fn stop_receiving(&self) {
        let old = self.world.state.borrow_mut().stop_receiving(self.id);
        drop(old);
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        self.world.ask(|state| state.shut_down(self.id, read, write))
    }

    fn set_zero_linger(&self) -> io::Result<()> {
        self.world.state.borrow_mut().reset_on_close(self.id);
        Ok(())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }

    async fn drain(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    async fn into_fd(self) -> io::Result<OwnedFd> {
        Err(no_kernel())
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.world.state.borrow().sockets[&self.id].peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.world.state.borrow().sockets[&self.id].local)
    }
}

impl Drop for StreamSocket {
    fn drop(&mut self) {
        let old = self.world.state.borrow_mut().close(self.id);
        drop(old);
    }
}

impl fmt::Debug for StreamSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamSocket").field(&self.id).finish()
    }
}

/// Bytes that were received, in memory the world lends.
pub struct Chunk {
    bytes: Vec<u8>,
    lent: Rc<Cell<u64>>,
    figures: Rc<Figures>,
}

impl Chunk {
    fn new(bytes: Vec<u8>, world: &World, figures: Rc<Figures>) -> Chunk {
        let lent = Rc::clone(&world.chunks_lent);
        lent.set(lent.get() + 1);
        figures.lent.set(figures.lent.get() + 1);
        Chunk { bytes, lent, figures }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.lent.set(self.lent.get() - 1);
        self.figures.lent.set(self.figures.lent.get() - 1);
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl IoBuf for Chunk {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.bytes.len())
    }
}

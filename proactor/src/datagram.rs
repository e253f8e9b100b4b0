//! Datagrams over completion: what receives them goes on by itself, and sends are operations. What programs see of it
//! is in `executor`'s `datagram.rs`.
//!
//! All that is received arrives at the socket first ([`Incoming`](crate::socket::Incoming)), so a future that is dropped
//! takes no datagram along. What the kernel writes has one shape, whether it picked the buffer or was given one: a
//! head (lengths, then the sender's address), then the bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use executor::{BufResult, Connection, Datagram, Fired, IoBuf, IoBufMut, LENT_DATAGRAM, Net, Port, allocate};
use io_uring::{opcode, squeue};
use socket2::{Domain, SockAddr, SockRef};

use crate::buffer::Buffer;
use crate::op::{Kind, give_back};
use crate::pool::{BLOCK_SIZE, Chunk, Pool};
use crate::ring::Completion;
use crate::ring::buffers::Group;
use crate::ring::message::{Message, NAME_SIZE, sockaddr};
use crate::socket::{Filler, Hold, Socket};
use crate::{Context, Feature, ListenSocket, Proactor, StreamSocket};

/// A UDP socket.
///
/// ```
/// # fn example() -> std::io::Result<()> {
/// let rt = proactor::Proactor::new()?;
/// let loopback = "127.0.0.1:0".parse().unwrap();
/// let (one, other) = (proactor::UdpSocket::bind(&rt, loopback)?, proactor::UdpSocket::bind(&rt, loopback)?);
/// rt.block_on(async {
///     one.send_to("hello", other.local_addr()?).await.0?;
///     let datagram = other.recv_from().await?;
///     assert_eq!((&*datagram.bytes, datagram.from), (&b"hello"[..], one.local_addr()?));
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type UdpSocket = executor::UdpSocket<DatagramPort>;

/// A Unix socket for datagrams: see [`Net`] for its names.
///
/// ```
/// # use proactor::Net;
/// # fn example() -> std::io::Result<()> {
/// let rt = proactor::Proactor::new()?;
/// let name = format!("\0greetings-{}", std::process::id());
/// let unnamed = std::os::unix::net::UnixDatagram::unbound()?;
/// let one = proactor::UnixDatagram::from_std(&rt, unnamed)?;
/// let other = rt.bind_unix_datagram(&name)?;
/// rt.block_on(async {
///     one.send_to("hello", other.local_addr()?).await.0?;
///     let datagram = other.recv_from().await?;
///     assert_eq!((&*datagram.bytes, datagram.from.is_unnamed()), (&b"hello"[..], true));
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type UnixDatagram = executor::UnixDatagram<DatagramPort>;

/// For Unix streams, which [`listen_unix`](Net::listen_unix), [`connect_unix`](Net::connect_unix) and
/// [`unix_pair`](Net::unix_pair) make. These are the types for TCP by other names: once it is connected, a Unix stream differs
/// only in its addresses.
pub use crate::net::{TcpListener as UnixListener, TcpStream as UnixStream};

impl Net for Proactor {
    type Port = DatagramPort;
    type Acceptor = ListenSocket;

    fn pipe_end(&self, fd: OwnedFd) -> io::Result<StreamSocket> {
        let stream = StreamSocket::from_std(self, fd.into())?;
        stream.hold.socket().is_pipe.set(true);
        Ok(stream)
    }

    async fn when_readable<T>(&self, fd: OwnedFd, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let fd = Rc::new(fd);
        let mut pause = FIRST_PAUSE;
        loop {
            let ready = self.context.start(Kind::Poll(Rc::clone(&fd))).map_err(|(error, _)| error)?.await.0?;
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            // An error or a hang-up that the call does not clear stays up, and ends every wait at once.
            if ready & STAYS_UP != 0 {
                self.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// What a poll reports although it was not asked, as long as it is so.
const STAYS_UP: usize = (libc::POLLERR | libc::POLLHUP).unsigned_abs() as usize;
/// The first pause between waits that such a state ends, doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Datagrams that may lie undelivered on a socket. With as many, its receive is stopped until they are taken; what
/// comes after those under way stays with the kernel, which drops what exceeds the socket's buffer.
const DATAGRAM_CAP: usize = 16;
/// struct io_uring_recvmsg_out: four numbers.
const LENGTHS: usize = 16;
const HEAD: usize = LENGTHS + NAME_SIZE;
const _: () = assert!(HEAD + LENT_DATAGRAM == BLOCK_SIZE);

type Arrived = Datagram<Chunk, SockAddr>;

/// Receives, again and again or once, into memory of its own.
pub(crate) struct Receive {
    pub(crate) socket: Rc<Socket<Arrived>>,
    message: Rc<Message>,
    /// `None` where the kernel picks the buffer, or when this has been filled.
    memory: Option<Vec<u8>>,
}

/// Sends a datagram.
pub(crate) struct Send {
    pub(crate) socket: Rc<Socket<Arrived>>,
    message: Rc<Message>,
    pub(crate) buffer: Buffer,
    /// The message points to it.
    _to: Option<Box<SockAddr>>,
    flags: u32,
}

impl Receive {
    /// The submission.
    pub(crate) fn entry(&self) -> squeue::Entry {
        let (fd, message, flags) = (self.socket.entry_fd(), self.message.as_ptr(), libc::MSG_TRUNC.unsigned_abs());
        match self.memory {
            None => opcode::RecvMsgMulti::new(fd, message, Group::Datagrams as u16).flags(flags).build(),
            Some(_) => opcode::RecvMsg::new(fd, message).flags(flags).build(),
        }
    }

    /// Puts what it brought to the socket. Returns whether there is enough for now.
    pub(crate) fn fill(&mut self, completion: Completion, pool: &Rc<Pool>, fired: &mut Fired) -> bool {
        // One that does not repeat itself completes once. Before that the memory is the kernel's.
        if self.memory.is_some() && completion.is_more() {
            return false;
        }
        let count = usize::try_from(completion.result);
        let chunk = match self.memory.take() {
            None => completion.buffer().and_then(|number| pool.take(Group::Datagrams, number, count.unwrap_or(0))),
            Some(mut memory) => count.ok().map(|len| {
                memory[..4].copy_from_slice(&self.message.name_len().to_ne_bytes());
                memory[8..12].copy_from_slice(&completion.result.to_ne_bytes());
                let filled = memory.len().min(HEAD + len);
                pool.adopt(memory, filled)
            }),
        };
        let is_enough = chunk.is_some_and(|chunk| self.socket.incoming.push(behead(chunk), DATAGRAM_CAP, fired));
        if !completion.is_more() {
            // ENOBUFS: tried again by whoever waits, with a bigger pool, or without one.
            let end = completion.result;
            self.socket.incoming.ended((end < 0 && end != -libc::ENOBUFS).then_some(end), fired);
        }
        is_enough
    }
}

/// The datagram behind its head.
fn behead(mut chunk: Chunk) -> Arrived {
    let mut head = [0; HEAD];
    chunk.move_to(&mut head);
    let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
    Datagram { bytes: chunk, len: number(8), from: sockaddr(&head[LENGTHS..][..number(0).min(NAME_SIZE)]) }
}

impl Send {
    /// The submission.
    pub(crate) fn entry(&self) -> squeue::Entry {
        opcode::SendMsg::new(self.socket.entry_fd(), self.message.as_ptr()).flags(self.flags).build()
    }
}

impl Context {
    /// Starts to receive on an idle socket: again and again where that is possible and the pool has something to
    /// receive into, else once.
    fn fill_datagrams(&self, socket: &Rc<Socket<Arrived>>) {
        let again = self.features.has(Feature::MultishotRecv) && self.pool.has_room(Group::Datagrams);
        self.receive(socket, (!again).then_some(LENT_DATAGRAM));
    }

    /// Receives one datagram, for which there shall be so much room; or, if `None` is said, any number. For want of
    /// memory that has failed when this returns.
    fn receive(&self, socket: &Rc<Socket<Arrived>>, room: Option<usize>) {
        let Ok(mut memory) = room.map(|room| allocate(HEAD + room)).transpose() else {
            return socket.incoming.end.set(Some(-libc::ENOMEM));
        };
        let message = memory.as_mut().map_or_else(Message::picked, |memory| {
            let (head, bytes) = memory.split_at_mut(HEAD);
            Message::new((head[LENGTHS..].as_mut_ptr(), NAME_SIZE), (bytes.as_mut_ptr(), bytes.len()))
        });
        let kind = Kind::Datagrams(Receive { socket: Rc::clone(socket), message, memory });
        self.operations.borrow_mut().start(&self.seam, kind);
    }
}

/// What is behind a [`UdpSocket`] and a [`UnixDatagram`].
#[derive(Debug)]
pub struct DatagramPort {
    hold: Hold<Arrived>,
    /// The kernel must not wait for room at a Unix socket: see the text of `executor`'s `datagram.rs`.
    send_flags: u32,
    /// No datagram is longer.
    longest: usize,
}

impl Port for DatagramPort {
    type Runtime = Proactor;
    type Chunk = Chunk;

    /// Blocking, for on a non-blocking socket io_uring reports "would block" instead of waiting.
    fn from_fd(proactor: &Proactor, fd: OwnedFd) -> io::Result<DatagramPort> {
        SockRef::from(&fd).set_nonblocking(false)?;
        // Of a Unix socket, what its sender's buffer holds; and that is an `int`.
        let (wait, longest) = match SockRef::from(&fd).domain()? {
            Domain::UNIX => (libc::MSG_DONTWAIT, i32::MAX.unsigned_abs() as usize),
            _ => (0, usize::from(u16::MAX)),
        };
        let send_flags = (libc::MSG_NOSIGNAL | wait).unsigned_abs();
        Ok(DatagramPort { hold: Hold::new(proactor, fd)?, send_flags, longest })
    }

    async fn recv(&self) -> io::Result<Arrived> {
        self.hold.arrival(Some(Context::fill_datagrams)).await.expect("filled").map(|arrived| arrived.expect("no end"))
    }

    /// What does not fit a chunk is received into memory for it.
    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<(usize, SockAddr), B> {
        let (room, incoming) = (buf.bytes().len(), &self.hold.socket().incoming);
        let is_idle = !incoming.has_arrived() && incoming.filler.get() == Filler::None;
        if room > LENT_DATAGRAM && is_idle && !self.hold.context.is_closed.get() {
            self.hold.context.receive(self.hold.socket(), Some(room.min(self.longest)));
        }
        let result = self.recv().await.map(|mut datagram| {
            datagram.bytes.move_to(buf.bytes_mut());
            (datagram.len, datagram.from)
        });
        (result, buf)
    }

    async fn send<B: IoBuf>(&self, buf: B, to: Option<SockAddr>) -> BufResult<(), B> {
        let (to, mut buffer, flags) = (to.map(Box::new), Buffer::to_send(buf), self.send_flags);
        let name = to.as_ref().map_or((std::ptr::null(), 0), |to| (to.as_ptr().cast(), to.len() as usize));
        let message = Message::new(name, buffer.place());
        let kind = Kind::SendMessage(Send { socket: Rc::clone(self.hold.socket()), message, buffer, _to: to, flags });
        let (result, buffer) = match self.hold.context.start(kind) {
            Ok(ticket) => ticket.await,
            Err((error, kind)) => (Err(error), kind.into_buffer()),
        };
        (result.map(drop), give_back(buffer))
    }

    async fn into_fd(self) -> io::Result<OwnedFd> {
        self.hold.release().await.map(Socket::into_fd)
    }
}

impl AsFd for DatagramPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hold.as_fd()
    }
}

//! Datagrams over completion: receives continue by themselves, and each send is an operation. The
//! part that programs see is in `executor`'s `datagram.rs`.
//!
//! Everything received arrives at the socket first ([`Incoming`](crate::socket::Incoming)), so a
//! dropped future loses no datagram. The kernel always writes the same layout, whether it picked
//! the buffer or was given one: a head (lengths, then the sender's address), then the bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use executor::{BufResult, IoBuf, IoBufMut, LENT_DATAGRAM, Port, allocate};
use socket2::{Domain, SockAddr, SockRef};

use crate::buffer::Buffer;
use crate::context::Context;
use crate::features::Feature;
use crate::hold::Hold;
use crate::op::{Arrived, HEAD, Kind, LENGTHS, Receive, SendMessage};
use crate::pool::Chunk;
use crate::proactor::Proactor;
use crate::ring::buffers::Group;
use crate::ring::message::{Message, NAME_SIZE};
use crate::socket::{Filler, Socket};
use crate::ticket::give_back;

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

/// A Unix socket for datagrams. See [`Net`](executor::Net) for its names.
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

/// The socket inside a [`UdpSocket`] or a [`UnixDatagram`].
#[derive(Debug)]
pub struct DatagramPort {
    hold: Hold<Arrived>,
    /// For a Unix socket, the kernel must not wait for room: see `executor`'s `datagram.rs`.
    send_flags: u32,
    /// The longest datagram possible.
    longest: usize,
}

impl Port for DatagramPort {
    type Runtime = Proactor;
    type Chunk = Chunk;

    /// Makes the socket blocking: on a non-blocking one, io_uring fails with "would block" instead
    /// of waiting.
    fn from_fd(proactor: &Proactor, fd: OwnedFd) -> io::Result<DatagramPort> {
        SockRef::from(&fd).set_nonblocking(false)?;
        // A Unix datagram can be as long as its sender's buffer, whose size is an `int`.
        let (wait, longest) = match SockRef::from(&fd).domain()? {
            Domain::UNIX => (libc::MSG_DONTWAIT, i32::MAX.unsigned_abs() as usize),
            _ => (0, usize::from(u16::MAX)),
        };
        let send_flags = (libc::MSG_NOSIGNAL | wait).unsigned_abs();
        Ok(DatagramPort { hold: Hold::new(&proactor.context, fd)?, send_flags, longest })
    }

    async fn recv(&self) -> io::Result<Arrived> {
        self.hold.arrival(Some(fill_datagrams)).await.expect("filled").map(|arrived| arrived.expect("no end"))
    }

    /// If a chunk is too small for `buf`, receives into memory made for this call.
    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<(usize, SockAddr), B> {
        let (room, incoming) = (buf.bytes().len(), &self.hold.socket().incoming);
        let is_idle = !incoming.has_arrived() && incoming.filler.get() == Filler::None;
        if room > LENT_DATAGRAM && is_idle && !self.hold.context.is_closed.get() {
            receive(&self.hold.context, self.hold.socket(), Some(room.min(self.longest)));
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
        let kind =
            Kind::SendMessage(SendMessage { socket: Rc::clone(self.hold.socket()), message, buffer, _to: to, flags });
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

/// Starts to receive on an idle socket: again and again if the kernel can and the pool has a
/// buffer, otherwise once.
fn fill_datagrams(context: &Context, socket: &Rc<Socket<Arrived>>) {
    let again = context.features.has(Feature::MultishotRecv) && context.pool.has_room(Group::Datagrams);
    receive(context, socket, (!again).then_some(LENT_DATAGRAM));
}

/// Receives one datagram into memory with so much room, or, for `None`, any number. If there is no
/// memory, this has failed when the function returns.
fn receive(context: &Context, socket: &Rc<Socket<Arrived>>, room: Option<usize>) {
    let Ok(mut memory) = room.map(|room| allocate(HEAD + room)).transpose() else {
        return socket.incoming.end.set(Some(-libc::ENOMEM));
    };
    let message = memory.as_mut().map_or_else(Message::picked, |memory| {
        let (head, bytes) = memory.split_at_mut(HEAD);
        Message::new((head[LENGTHS..].as_mut_ptr(), NAME_SIZE), (bytes.as_mut_ptr(), bytes.len()))
    });
    let kind = Kind::Datagrams(Receive { socket: Rc::clone(socket), message, memory });
    context.begin(kind);
}

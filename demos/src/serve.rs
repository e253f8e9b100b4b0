//! The life of a server: accept, limit, end.
//!
//! Each connection is a task of its own, so a panic in one ends only that one. A connection holds a
//! *seat*; whoever leaves gives it back and wakes the accept loop if that waits. A seat costs an entry
//! in a table, so neither the limit nor the end ever walks over the connections, with one exception:
//! those that outstay the grace period are aborted one by one.
//!
//! With a limit for each address, whoever has that many seats already is sent away at once: to let them wait, in
//! the kernel's queue, would let everybody behind them wait, too.
//!
//! ```text
//!            seats free             all taken
//!  accept <--------------> wait for a seat         (the kernel's backlog holds who comes meanwhile)
//!     |
//!   stop: last call ------> close the listener ------> wait until all have left, or for the grace
//!         (accept what         (newcomers are              period; then abort the rest
//!          had arrived)         refused)
//! ```
//!
//! **Stop** is the runtime's [`stop`](executor::Executor::stop). Every connection learns of it by itself, through
//! [`unless_stopping`]: it answers what has been asked, and leaves when it is idle.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use executor::{AbortHandle, IoBuf, Key, Listener, Reader, Runtime, Stream, Table, Writer, yield_now};

/// How long a connection must have nothing to do, after a stop, to count as idle: time enough for what
/// the kernel had already received when the stop came, and for the rest of what a client sends in one go, of which TCP may hold
/// a part back for a delayed acknowledgement (40 ms). A user who waits for the exit does not notice it.
pub const LAST_CALL: Duration = Duration::from_millis(60);

/// How long [`linger`] waits for more bytes where nothing else is said. Apache's value; nginx's `lingering_timeout` is 5 s.
pub const LINGER_IDLE: Duration = Duration::from_secs(2);
/// How long [`linger`] goes on in all while bytes come. The value of Apache, and of nginx's `lingering_time`.
pub const LINGER_TIME: Duration = Duration::from_secs(30);

/// Connections accepted before the tasks get their turn: a flood of newcomers does not keep those who
/// are already there waiting.
const ACCEPTS_IN_A_ROW: u64 = 64;

/// What a server is allowed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time. Above it, accepting pauses.
    pub connections: usize,
    /// Connections at the same time from one address. Those above it are closed at once.
    pub per_address: Option<usize>,
    /// How long a stop waits for connections that are in the middle of something.
    pub grace: Duration,
}

/// What a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections accepted and served.
    pub connections: u64,
    /// Connections that were closed at once, because their address had as many as it may have.
    pub refused: u64,
    /// Connections that were still busy when the grace period was over, and were aborted.
    pub cut: u64,
}

impl Served {
    /// Each figure with its name; that somebody was refused is said only if so.
    #[must_use]
    pub fn fields(self) -> Vec<(&'static str, u64)> {
        let Served { connections, refused, cut } = self;
        let refused = (refused != 0).then_some(("refused", refused));
        [("connections", connections), ("cut", cut)].into_iter().chain(refused).collect()
    }
}

/// Serves the connections of `listener`, each by a task that runs `connection`, until the runtime is
/// [stopped](executor::Executor::stop); then ends as described above.
///
/// # Errors
/// Those of [`Listener::accept`]. The connections run on then, until the runtime ends.
pub async fn serve<R, L, C, F>(rt: &R, mut listener: L, limits: &Limits, connection: C) -> io::Result<Served>
where
    R: Runtime,
    L: Listener<Stream = R::Stream>,
    C: Fn(R::Stream) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let guests = Rc::new(Guests::default());
    let accepting = accept(rt, &mut listener, limits, &guests, connection);
    if let Some(Err(error)) = unless_stopping(rt, accepting).await {
        return Err(error);
    }
    drop(listener);
    let all_left = rt.timeout(limits.grace, guests.until(|present| present == 0)).await.is_ok();
    let cut = if all_left { 0 } else { guests.abort() };
    guests.until(|present| present == 0).await;
    Ok(Served { connections: guests.admitted.get(), refused: guests.refused.get(), cut })
}

/// Seats who comes; ends only with an error.
async fn accept<R, L, C, F>(
    rt: &R,
    listener: &mut L,
    limits: &Limits,
    guests: &Rc<Guests>,
    connection: C,
) -> io::Result<()>
where
    R: Runtime,
    L: Listener<Stream = R::Stream>,
    C: Fn(R::Stream) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let connection = Rc::new(connection);
    loop {
        guests.until(|present| present < limits.connections).await;
        let stream = listener.accept().await?;
        match guests.place_for(&stream, limits.per_address) {
            Some(place) => guests.admit(rt, stream, place, &connection),
            None => drop(stream),
        }
        if (guests.admitted.get() + guests.refused.get()).is_multiple_of(ACCEPTS_IN_A_ROW) {
            yield_now().await;
        }
    }
}

/// Waits for `next`, such as the next request of an idle connection; `None` if the runtime is stopping
/// and `next` does not complete in the moment after that, which is for what the kernel already had.
///
/// # Cancel safety
/// That of `next`, which is dropped when the answer is `None`.
pub async fn unless_stopping<R: Runtime, T>(rt: &R, next: impl Future<Output = T>) -> Option<T> {
    unless_stopped(rt, pin!(rt.stopped()), next).await
}

/// The same, for a connection that waits for one message after the other: it keeps `stopped`, which is
/// `rt.stopped()`, instead of asking for the stop anew each time.
///
/// # Cancel safety
/// That of `next`, which is dropped when the answer is `None`.
pub async fn unless_stopped<R: Runtime, T>(
    rt: &R,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    next: impl Future<Output = T>,
) -> Option<T> {
    let mut next = pin!(next);
    let first = poll_fn(|cx| match next.as_mut().poll(cx) {
        Poll::Ready(next) => Poll::Ready(Some(next)),
        Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
    });
    let first = first.await;
    if first.is_some() {
        return first;
    }
    // In a box, for it comes once, and all connections would have to have room for it all the time.
    Box::pin(rt.timeout(LAST_CALL, next)).await.ok()
}

/// How long a peer may take nothing of what is written to it.
pub const STUCK: Duration = Duration::from_secs(60);

/// Writes the whole buffer to a peer that takes some of it again and again: if it takes nothing for `time`, that is an error,
/// `TimedOut`. How long all of it takes is no matter. Returns the buffer.
///
/// # Errors
/// Those of [`Writer::write`]; `WriteZero`; `TimedOut`.
///
/// # Cancel safety
/// That of [`Writer::write_all`].
pub async fn write_unless_stuck<R: Runtime, W: Writer, B: IoBuf>(
    rt: &R,
    writer: &mut W,
    mut buffer: B,
    time: Duration,
) -> io::Result<B> {
    let (mut written, end) = (0, buffer.bytes().len());
    while written < end {
        let write = pin!(writer.write(buffer.slice(written..end)));
        let (result, rest) = unless_stuck(rt, write, time).await.ok_or(ErrorKind::TimedOut)?;
        buffer = rest.into_inner();
        match result? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(buffer)
}

/// Waits for a write; `None` if it waits longer than `time`. One that is over at once needs no timer.
///
/// # Cancel safety
/// That of `write`.
pub fn unless_stuck<R: Runtime, T>(
    rt: &R,
    mut write: Pin<&mut impl Future<Output = T>>,
    time: Duration,
) -> impl Future<Output = Option<T>> {
    let mut timer = None;
    poll_fn(move |cx| {
        if let Poll::Ready(written) = write.as_mut().poll(cx) {
            return Poll::Ready(Some(written));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(rt.sleep(time)));
        timer.as_mut().poll(cx).map(|()| None)
    })
}

/// Reads and drops what a peer still sends after our last words: until nothing comes for `idle`, for `time` at most. If a
/// connection is closed with unread bytes, the kernel resets it, and a reset can overtake the last words. How many bytes
/// come is no limit: many clients send a body to its end before they look at the answer.
pub async fn linger<R: Runtime, S: Reader>(rt: &R, reader: &mut S, idle: Duration, time: Duration) {
    let reading = async {
        while let Ok(Ok(chunk)) = rt.timeout(idle, reader.recv()).await {
            if chunk.bytes().is_empty() {
                return;
            }
            drop(chunk);
            yield_now().await;
        }
    };
    let _ = rt.timeout(time, reading).await;
}

/// The connections that are here.
#[derive(Default)]
struct Guests {
    /// The abort handle is missing for the moment between taking the seat and spawning the task.
    seats: RefCell<Table<Option<AbortHandle>>>,
    /// The server, when it waits for somebody to leave.
    server: Cell<Option<Waker>>,
    /// How many places each address has, if that is limited. Only those that have some are in it, so it is never
    /// larger than the crowd.
    addresses: RefCell<HashMap<IpAddr, usize>>,
    admitted: Cell<u64>,
    refused: Cell<u64>,
}

impl Guests {
    /// A place among the connections of its address; `None` if they are as many as they may be.
    fn place_for<S: Stream>(self: &Rc<Self>, stream: &S, most: Option<usize>) -> Option<Place> {
        // Who has been reset meanwhile has no address any more, and needs no limit.
        let address = most.and_then(|_| stream.peer_addr().ok()).map(|address| address.ip().to_canonical());
        if let (Some(address), Some(most)) = (address, most) {
            let mut addresses = self.addresses.borrow_mut();
            let places = addresses.entry(address).or_default();
            if *places >= most {
                self.refused.set(self.refused.get() + 1);
                return None;
            }
            *places += 1;
        }
        Some(Place { guests: Rc::clone(self), address })
    }

    /// Gives the stream a seat and a task.
    fn admit<R, C, F>(self: &Rc<Self>, rt: &R, stream: R::Stream, place: Place, connection: &Rc<C>)
    where
        R: Runtime,
        C: Fn(R::Stream) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        self.admitted.set(self.admitted.get() + 1);
        let key = self.seats.borrow_mut().insert(None);
        let seat = Seat { place, key };
        // The connection's future is made inside the task: moved in, it would take its room twice.
        let connection = Rc::clone(connection);
        let task = rt.spawn(async move {
            let _seat = seat;
            connection(stream).await;
        });
        // A task that was refused has given its seat back already.
        if let Some(abort) = self.seats.borrow_mut().get_mut(key) {
            *abort = Some(task.abort_handle());
        }
    }

    /// Waits until the number of those present is as wished.
    async fn until(&self, wish: impl Fn(usize) -> bool) {
        poll_fn(|cx| {
            if wish(self.seats.borrow().len()) {
                return Poll::Ready(());
            }
            drop(self.server.replace(Some(cx.waker().clone())));
            Poll::Pending
        })
        .await;
    }

    /// Aborts all who are here; returns how many.
    fn abort(&self) -> u64 {
        let seats = self.seats.borrow();
        seats.iter().filter_map(|(_, abort)| abort.as_ref()).for_each(AbortHandle::abort);
        seats.len() as u64
    }
}

/// A connection's place among those of its address, if these are counted; given back on drop.
struct Place {
    guests: Rc<Guests>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut addresses = self.guests.addresses.borrow_mut();
        if let Entry::Occupied(mut places) = addresses.entry(address) {
            *places.get_mut() -= 1;
            if *places.get() == 0 {
                places.remove();
            }
        }
    }
}

/// A connection's seat, given back on drop however the connection ends.
struct Seat {
    place: Place,
    key: Key,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let guests = &self.place.guests;
        let left = guests.seats.borrow_mut().remove(self.key);
        drop(left);
        if let Some(server) = guests.server.take() {
            server.wake();
        }
    }
}

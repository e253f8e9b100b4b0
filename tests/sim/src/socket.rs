//! Sockets and listeners, as the world knows them; what is asked of them, and what happens to them.
//!
//! A transfer is *tried* or *submitted*. Tried, it is done at once as far as it can be, or its task waits
//! until the socket is ready and tries again: readiness. Submitted, it becomes an operation, which completes
//! some time after it can, whether or not anybody still waits for it: completion. What a receive or an accept
//! brings that nobody waits for any more is kept for the next who asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use executor::Fired;

use crate::pipe::{Pipe, Segment};
use crate::trace::What;
use crate::world::{Event, Id, Old, State};

/// Chunks that are received before they are asked for.
const UNDELIVERED: usize = 4;
/// How often a client knocks at a full backlog: the first time again after a second, then after twice as long.
const TRIES: u32 = 6;

/// What one end of a connection has done and is doing; it can be asked also when the end is gone.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    pub(crate) writes: Cell<u64>,
    pub(crate) refused_writes: Cell<u64>,
    pub(crate) lent: Cell<u64>,
    pub(crate) shut_down: Cell<Option<Duration>>,
    pub(crate) closed: Cell<Option<Duration>>,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// The other end, once there is one.
    other: Option<Id>,
    /// What came of the attempt to connect: 0, or an error's number.
    decided: Option<i32>,
    incoming: Pipe,
    /// The receive that is under way.
    receive: Option<u64>,
    receive_is_due: bool,
    /// What it brought.
    received: VecDeque<Vec<u8>>,
    send: Option<Sending>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    is_shut_down: bool,
    is_reset: bool,
    /// To be reported once, by whatever is asked next.
    error: Option<i32>,
    resets_on_close: bool,
    is_held: bool,
    /// A send was dropped, and not all of it went out.
    pub(crate) is_cut: bool,
    pub(crate) figures: Rc<Figures>,
}

/// A send that is under way: it owns its bytes.
#[derive(Debug)]
struct Sending {
    operation: u64,
    bytes: Vec<u8>,
    sent: usize,
    whole: bool,
    is_due: bool,
    is_orphan: bool,
    result: Option<Result<usize, i32>>,
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    limit: usize,
    backlog: VecDeque<Id>,
    /// The accept that is under way.
    pub(crate) accept: Option<u64>,
    accept_is_due: bool,
    /// What it brought.
    accepted: VecDeque<Result<Id, i32>>,
    pub(crate) waiter: Option<Waker>,
}

impl Socket {
    fn new(local: SocketAddr, peer: SocketAddr, capacity: usize) -> Socket {
        Socket {
            local,
            peer,
            other: None,
            decided: None,
            incoming: Pipe::new(capacity),
            receive: None,
            receive_is_due: false,
            received: VecDeque::new(),
            send: None,
            reader: None,
            writer: None,
            is_shut_down: false,
            is_reset: false,
            error: None,
            resets_on_close: false,
            is_held: false,
            is_cut: false,
            figures: Rc::default(),
        }
    }

    /// How many operations are under way.
    pub(crate) fn operations(&self) -> u64 {
        u64::from(self.receive.is_some()) + u64::from(self.send.is_some())
    }

    /// Whether a receive would bring something: bytes, the end, or an error.
    fn is_readable(&self) -> bool {
        !self.incoming.unread.is_empty() || self.incoming.has_ended || self.is_reset
    }

    /// Why nothing can be written, if so.
    fn write_error(&mut self) -> Option<i32> {
        let is_broken = self.is_reset || self.is_shut_down;
        self.error.take().or(is_broken.then_some(libc::EPIPE))
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Socket { local, peer, incoming, is_shut_down, is_reset, .. } = self;
        write!(f, "{local} from {peer}: {} bytes unread", incoming.unread.len())?;
        for (is_so, what) in [
            (incoming.has_ended, "the end arrived"),
            (*is_reset, "reset"),
            (*is_shut_down, "shut down"),
            (self.reader.is_some(), "somebody waits to read"),
            (self.writer.is_some(), "somebody waits to write"),
            (self.receive.is_some(), "a receive is under way"),
            (self.send.is_some(), "a send is under way"),
        ] {
            if is_so {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = if self.waiter.is_some() { "somebody waits to accept" } else { "nobody accepts" };
        write!(f, "{} listens, {} in the backlog, {waits}", self.addr, self.backlog.len())
    }
}

/// Connections: how they come and go.
impl State {
    pub(crate) fn listen(&mut self, mut addr: SocketAddr, limit: u32) -> Result<Id, i32> {
        if addr.port() == 0 {
            let port = self.port();
            addr.set_port(port);
        }
        if self.listeners.values().any(|other| other.addr == addr) {
            return Err(libc::EADDRINUSE);
        }
        let id = self.name();
        let listening = Listening {
            addr,
            limit: limit.max(1) as usize,
            backlog: VecDeque::new(),
            accept: None,
            accept_is_due: false,
            accepted: VecDeque::new(),
            waiter: None,
        };
        self.listeners.insert(id, listening);
        Ok(id)
    }

    fn insert(&mut self, id: Id, socket: Socket) {
        self.by_address.insert((socket.local, socket.peer), id);
        self.sockets.insert(id, socket);
    }

    /// Makes a socket the program's own, if it may have one more.
    fn hold(&mut self, id: Id) -> Result<Id, i32> {
        if self.held >= self.weather.sockets {
            return Err(libc::EMFILE);
        }
        self.held += 1;
        self.sockets.get_mut(&id).expect("it was just made").is_held = true;
        Ok(id)
    }

    /// A socket that is not connected yet, and a request on its way.
    pub(crate) fn start_connecting(&mut self, peer: SocketAddr) -> Result<Id, i32> {
        let mut local = peer;
        while local == peer || self.by_address.contains_key(&(local, peer)) {
            let port = self.port();
            local.set_port(port);
        }
        let (id, capacity) = (self.name(), self.capacity());
        self.insert(id, Socket::new(local, peer, capacity));
        self.hold(id).inspect_err(|_| drop(self.close(id)))?;
        let latency = self.latency();
        self.after(latency, Event::Connect { client: id, tries: 0 });
        Ok(id)
    }

    /// The request has reached the listener, if there is one.
    pub(crate) fn connect(&mut self, client: Id, tries: u32, fired: &mut Fired) {
        let Some((local, peer)) = self.sockets.get(&client).map(|socket| (socket.local, socket.peer)) else { return };
        self.note(What::Connects, client, tries as usize);
        let latency = self.latency();
        let is_meant = |addr: SocketAddr| addr == peer || (addr.port() == peer.port() && addr.ip().is_unspecified());
        let found = self.listeners.iter_mut().find(|(_, listening)| is_meant(listening.addr));
        let Some((&listener, listening)) = found else {
            return self.after(latency, Event::Decide { client, error: libc::ECONNREFUSED });
        };
        if listening.backlog.len() >= listening.limit {
            let next = Duration::from_secs(1 << tries);
            let event = if tries == TRIES {
                Event::Decide { client, error: libc::ETIMEDOUT }
            } else {
                Event::Connect { client, tries: tries + 1 }
            };
            return self.after(next, event);
        }
        let server = self.name();
        self.listeners.get_mut(&listener).expect("just found").backlog.push_back(server);
        let capacity = self.capacity();
        self.insert(server, Socket { other: Some(client), ..Socket::new(peer, local, capacity) });
        self.sockets.get_mut(&client).expect("just seen").other = Some(server);
        self.after(latency, Event::Decide { client, error: 0 });
        self.offer(listener, fired);
    }

    /// There is somebody to accept.
    fn offer(&mut self, listener: Id, fired: &mut Fired) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if let Some(operation) = listening.accept {
            if !std::mem::replace(&mut listening.accept_is_due, true) {
                self.complete_later(Event::Accept { listener, operation });
            }
        } else if let Some(waiter) = listening.waiter.take() {
            fired.wake(waiter);
        }
    }

    pub(crate) fn decide(&mut self, client: Id, error: i32, fired: &mut Fired) {
        let Some(socket) = self.sockets.get_mut(&client) else { return };
        socket.decided = Some(error);
        if let Some(waker) = socket.writer.take() {
            fired.wake(waker);
        }
        self.note(if error == 0 { What::Established } else { What::Refused }, client, 0);
    }

    pub(crate) fn poll_connected(&mut self, id: Id, waker: Waker) -> (Poll<Result<(), i32>>, Old) {
        let socket = self.sockets.get_mut(&id).expect("it is held");
        match socket.decided {
            None => (Poll::Pending, socket.writer.replace(waker)),
            Some(0) => (Poll::Ready(Ok(())), Some(waker)),
            Some(error) => (Poll::Ready(Err(error)), Some(waker)),
        }
    }

    /// Asks for a connection. `is_first`: for the first time.
    pub(crate) fn poll_accept(&mut self, id: Id, is_first: bool, waker: Waker) -> (Poll<Result<Id, i32>>, Old) {
        let listening = self.listeners.get_mut(&id).expect("it is held");
        if let Some(accepted) = listening.accepted.pop_front() {
            return (Poll::Ready(accepted), Some(waker));
        }
        if listening.accept.is_some() {
            return (Poll::Pending, listening.waiter.replace(waker));
        }
        if is_first && self.chance(|weather| weather.submitted) {
            let operation = self.start_operation();
            let listening = self.listeners.get_mut(&id).expect("just seen");
            listening.accept = Some(operation);
            listening.accept_is_due = !listening.backlog.is_empty();
            let old = listening.waiter.replace(waker);
            if listening.accept_is_due {
                self.complete_later(Event::Accept { listener: id, operation });
            }
            return (Poll::Pending, old);
        }
        match self.accept(id) {
            Some(accepted) => (Poll::Ready(accepted), Some(waker)),
            None => (Poll::Pending, self.listeners.get_mut(&id).expect("just seen").waiter.replace(waker)),
        }
    }

    /// Tries to accept. `None`: there is nobody.
    fn accept(&mut self, listener: Id) -> Option<Result<Id, i32>> {
        if self.chance(|weather| weather.accept_trouble) {
            let troubles = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED];
            let trouble = troubles[self.random.usize(0..troubles.len())];
            self.note(What::AcceptFails, listener, trouble as usize);
            return Some(Err(trouble));
        }
        let id = *self.listeners.get(&listener)?.backlog.front()?;
        let accepted = self.hold(id);
        if accepted.is_ok() {
            self.listeners.get_mut(&listener)?.backlog.pop_front();
        }
        self.note(if accepted.is_ok() { What::Accepted } else { What::AcceptFails }, listener, 0);
        Some(accepted)
    }

    pub(crate) fn complete_accept(&mut self, id: Id, operation: u64, fired: &mut Fired) {
        let is_current = |listening: &&mut Listening| listening.accept == Some(operation);
        if self.listeners.get_mut(&id).filter(is_current).is_none() {
            return;
        }
        let result = self.accept(id);
        let goes_on = result.as_ref().is_none_or(Result::is_ok) && self.chance(|weather| weather.multishot);
        let listening = self.listeners.get_mut(&id).expect("just seen");
        listening.accepted.extend(result);
        let is_due = goes_on && !listening.backlog.is_empty() && listening.accepted.len() < UNDELIVERED;
        listening.accept = goes_on.then_some(operation);
        listening.accept_is_due = is_due;
        if let Some(waiter) = listening.waiter.take() {
            fired.wake(waiter);
        }
        if is_due {
            self.complete_later(Event::Accept { listener: id, operation });
        }
    }

    /// Nobody waits for a connection any more.
    pub(crate) fn cancel_accept(&mut self, id: Id) -> Old {
        let is_late = self.chance(|weather| weather.late_cancel);
        let listening = self.listeners.get_mut(&id)?;
        let old = listening.waiter.take();
        if listening.accept.is_some() {
            self.orphans += 1;
            if !is_late {
                listening.accept = None;
            }
            self.note(What::AcceptCancelled, id, usize::from(is_late));
        }
        old
    }

    /// How much this end holds of what the other sends.
    pub(crate) fn set_buffer(&mut self, id: Id, capacity: usize) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.incoming.capacity = capacity;
        }
    }

    /// Who was not accepted is reset.
    pub(crate) fn stop_listening(&mut self, id: Id) -> Vec<Old> {
        let Some(listening) = self.listeners.remove(&id) else { return Vec::new() };
        let left: Vec<_> = listening.accepted.iter().flatten().chain(&listening.backlog).copied().collect();
        let mut old = vec![listening.waiter];
        for id in left {
            self.reset_on_close(id);
            old.extend(self.close(id));
        }
        old
    }

    pub(crate) fn reset_on_close(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.resets_on_close = true;
        }
    }

    /// The program lets go of a socket. With something unread the other end learns of it by a reset, as TCP has
    /// it: what it sent was for nothing.
    pub(crate) fn close(&mut self, id: Id) -> [Old; 2] {
        let Some(socket) = self.sockets.remove(&id) else { return [None, None] };
        self.by_address.remove(&(socket.local, socket.peer));
        self.held -= usize::from(socket.is_held);
        socket.figures.closed.set(Some(self.now));
        self.note(What::Closes, id, socket.incoming.held());
        if let Some(other) = socket.other.filter(|_| !socket.is_reset) {
            if socket.resets_on_close || socket.incoming.held() > 0 {
                self.push(other, Segment::Reset);
            } else if !socket.is_shut_down {
                self.push(other, Segment::End);
            }
        }
        [socket.reader, socket.writer]
    }

    fn start_operation(&mut self) -> u64 {
        self.operations += 1;
        self.name().0
    }
}

/// Data: how it gets across.
impl State {
    /// Puts a segment on its way. In order, however long the latency.
    fn push(&mut self, to: Id, segment: Segment) {
        let at = self.now.saturating_add(self.latency());
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        let pipe = &mut socket.incoming;
        pipe.last_arrival = at.max(pipe.last_arrival);
        let at = pipe.last_arrival;
        pipe.on_the_way.push_back(segment);
        self.at(at, Event::Arrive { to });
    }

    pub(crate) fn arrive(&mut self, to: Id, fired: &mut Fired) {
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        let segment = socket.incoming.on_the_way.pop_front().expect("one event for each segment");
        let mut count = 0;
        let what = match segment {
            Segment::Bytes(bytes) => {
                count = bytes.len();
                socket.incoming.unread.extend(bytes);
                What::Arrives
            }
            Segment::End => {
                socket.incoming.has_ended = true;
                What::EndArrives
            }
            Segment::Reset => {
                if !std::mem::replace(&mut socket.is_reset, true) {
                    socket.error = Some(libc::ECONNRESET);
                }
                What::ResetArrives
            }
        };
        socket.incoming.check();
        let is_reset = socket.is_reset;
        self.note(what, to, count);
        self.become_readable(to, fired);
        if is_reset {
            self.learn_of_room(to, fired);
        }
    }

    pub(crate) fn become_readable(&mut self, id: Id, fired: &mut Fired) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if let Some(operation) = socket.receive {
            if !std::mem::replace(&mut socket.receive_is_due, true) {
                self.complete_later(Event::Receive { socket: id, operation });
            }
        } else if let Some(reader) = socket.reader.take() {
            fired.wake(reader);
        }
    }

    /// Asks for at most so many bytes; none are the end. `is_first`: for the first time.
    pub(crate) fn poll_receive(
        &mut self,
        id: Id,
        most: usize,
        is_first: bool,
        waker: Waker,
    ) -> (Poll<Result<Vec<u8>, i32>>, Old) {
        let submits = is_first && self.chance(|weather| weather.submitted);
        let socket = self.sockets.get_mut(&id).expect("it is held");
        if let Some(mut bytes) = socket.received.pop_front() {
            if bytes.len() > most {
                socket.received.push_front(bytes.split_off(most));
            }
            socket.figures.received.update(|count| count + bytes.len() as u64);
            return (Poll::Ready(Ok(bytes)), Some(waker));
        }
        if submits && socket.receive.is_none() {
            let operation = self.start_operation();
            let socket = self.sockets.get_mut(&id).expect("just seen");
            socket.receive = Some(operation);
            socket.receive_is_due = socket.is_readable();
            if socket.receive_is_due {
                self.complete_later(Event::Receive { socket: id, operation });
            }
        }
        let socket = self.sockets.get_mut(&id).expect("just seen");
        if socket.receive.is_some() || !socket.is_readable() {
            return (Poll::Pending, socket.reader.replace(waker));
        }
        if socket.incoming.unread.is_empty() {
            return (Poll::Ready(socket.error.take().map_or(Ok(Vec::new()), Err)), Some(waker));
        }
        let bytes = self.take(id, most);
        let socket = self.sockets.get_mut(&id).expect("just seen");
        socket.figures.received.update(|count| count + bytes.len() as u64);
        (Poll::Ready(Ok(bytes)), Some(waker))
    }

    /// Takes bytes that have arrived. A writer who waits for room learns of it.
    fn take(&mut self, id: Id, most: usize) -> Vec<u8> {
        let unread = self.sockets[&id].incoming.unread.len();
        let count = self.amount(unread.min(most));
        let socket = self.sockets.get_mut(&id).expect("just seen");
        let bytes = socket.incoming.take(count);
        let other = socket.other;
        self.note(What::Receives, id, count);
        let waits = |socket: &Socket| socket.writer.is_some() || socket.send.is_some();
        if let Some(writer) = other.filter(|other| self.sockets.get(other).is_some_and(waits)) {
            let latency = self.latency();
            self.after(latency, Event::Room { writer });
        }
        bytes
    }

    pub(crate) fn complete_receive(&mut self, id: Id, operation: u64, fired: &mut Fired) {
        let is_current = |socket: &&mut Socket| socket.receive == Some(operation);
        let Some(socket) = self.sockets.get_mut(&id).filter(is_current) else { return };
        let has_bytes = !socket.incoming.unread.is_empty();
        if has_bytes && self.chance(|weather| weather.no_buffer) {
            self.pool_misses += 1;
            self.note(What::NoBuffer, id, 0);
            return self.complete_later(Event::Receive { socket: id, operation });
        }
        if has_bytes {
            let bytes = self.take(id, self.weather.chunk);
            self.sockets.get_mut(&id).expect("just seen").received.push_back(bytes);
        }
        let goes_on = has_bytes && self.chance(|weather| weather.multishot);
        let socket = self.sockets.get_mut(&id).expect("just seen");
        socket.receive = (goes_on && socket.received.len() < UNDELIVERED).then_some(operation);
        socket.receive_is_due = socket.receive.is_some() && socket.is_readable();
        if let Some(reader) = socket.reader.take() {
            fired.wake(reader);
        }
        if socket.receive_is_due {
            self.complete_later(Event::Receive { socket: id, operation });
        }
    }

    /// Nobody waits to read any more.
    pub(crate) fn cancel_receive(&mut self, id: Id) -> Old {
        let is_late = self.chance(|weather| weather.late_cancel);
        let socket = self.sockets.get_mut(&id)?;
        let old = socket.reader.take();
        if socket.receive.is_some() {
            self.orphans += 1;
            if !is_late {
                socket.receive = None;
            }
            self.note(What::ReceiveCancelled, id, usize::from(is_late));
        }
        old
    }

    /// Nobody will read any more.
    pub(crate) fn stop_receiving(&mut self, id: Id) -> Old {
        let socket = self.sockets.get_mut(&id)?;
        socket.receive = None;
        socket.received.clear();
        socket.reader.take()
    }

    /// Submits a send, if chance will have it so.
    pub(crate) fn submit_send(&mut self, id: Id, bytes: &[u8], whole: bool) -> bool {
        let socket = self.sockets.get_mut(&id).expect("it is held");
        socket.figures.writes.update(|count| count + 1);
        if !self.chance(|weather| weather.submitted) {
            return false;
        }
        let operation = self.start_operation();
        let bytes = bytes.to_vec();
        let send = Sending { operation, bytes, sent: 0, whole, is_due: true, is_orphan: false, result: None };
        self.sockets.get_mut(&id).expect("just seen").send = Some(send);
        self.complete_later(Event::Send { socket: id, operation });
        true
    }

    pub(crate) fn poll_submitted(&mut self, id: Id, waker: Waker) -> (Poll<Result<usize, i32>>, Old) {
        let socket = self.sockets.get_mut(&id).expect("it is held");
        // Taken away by a shutdown.
        let Some(send) = &mut socket.send else { return (Poll::Ready(Err(libc::EPIPE)), Some(waker)) };
        match send.result.take() {
            Some(result) => {
                socket.send = None;
                (Poll::Ready(result), Some(waker))
            }
            None => (Poll::Pending, socket.writer.replace(waker)),
        }
    }

    /// Tries to send some of it.
    pub(crate) fn poll_send(&mut self, id: Id, bytes: &[u8], waker: Waker) -> (Poll<Result<usize, i32>>, Old) {
        match self.transmit(id, bytes) {
            Ok(0) => {
                let socket = self.sockets.get_mut(&id).expect("it is held");
                (Poll::Pending, socket.writer.replace(waker))
            }
            result => (Poll::Ready(result), Some(waker)),
        }
    }

    /// Puts as many of these bytes on their way as there is room for.
    fn transmit(&mut self, id: Id, bytes: &[u8]) -> Result<usize, i32> {
        let socket = self.sockets.get_mut(&id).expect("it is held");
        let was_shut_down = socket.is_shut_down;
        if let Some(error) = socket.write_error() {
            socket.figures.refused_writes.update(|count| count + u64::from(was_shut_down));
            return Err(error);
        }
        let other = socket.other.expect("it is connected");
        let room = self.sockets.get(&other).map(|other| other.incoming.room());
        let count = self.amount(room.unwrap_or(usize::MAX).min(bytes.len()));
        if count == 0 {
            return Ok(0);
        }
        self.note(What::Sends, id, count);
        let socket = self.sockets.get_mut(&id).expect("just seen");
        socket.figures.sent.update(|sent| sent + count as u64);
        if room.is_none() {
            // The other end is gone, and answers so.
            self.push(id, Segment::Reset);
        } else if self.chance(|weather| weather.resets) {
            self.reset(id);
        } else {
            let pipe = &mut self.sockets.get_mut(&other).expect("just seen").incoming;
            pipe.written += count as u64;
            self.push(other, Segment::Bytes(bytes[..count].to_vec()));
        }
        Ok(count)
    }

    /// The network ends a connection: both ends are reset.
    pub(crate) fn reset(&mut self, id: Id) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let other = socket.other;
        self.note(What::Resets, id, 0);
        self.push(id, Segment::Reset);
        if let Some(other) = other {
            self.push(other, Segment::Reset);
        }
    }

    pub(crate) fn complete_send(&mut self, id: Id, operation: u64, fired: &mut Fired) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let is_current = |send: &mut Sending| send.operation == operation && send.result.is_none();
        let Some(mut send) = socket.send.take_if(is_current) else { return };
        send.is_due = false;
        let result = self.transmit(id, &send.bytes[send.sent..]);
        send.sent += result.unwrap_or(0);
        let is_done = send.sent == send.bytes.len() || (send.sent > 0 && !send.whole);
        send.result = result.is_err().then_some(result).or(is_done.then_some(Ok(send.sent)));
        if send.result.is_none() && result != Ok(0) {
            send.is_due = true;
            self.complete_later(Event::Send { socket: id, operation });
        }
        let is_over = send.result.is_some();
        let socket = self.sockets.get_mut(&id).expect("just seen");
        socket.is_cut &= !(send.is_orphan && send.sent == send.bytes.len());
        socket.send = Some(send).filter(|send| !(is_over && send.is_orphan));
        if is_over && let Some(writer) = socket.writer.take() {
            fired.wake(writer);
        }
    }

    /// There may be room now, or an error to learn of.
    pub(crate) fn learn_of_room(&mut self, id: Id, fired: &mut Fired) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if let Some(send) = socket.send.as_mut().filter(|send| send.result.is_none()) {
            let operation = send.operation;
            if !std::mem::replace(&mut send.is_due, true) {
                self.complete_later(Event::Send { socket: id, operation });
            }
        } else if let Some(writer) = socket.writer.take() {
            fired.wake(writer);
        }
    }

    /// Nobody waits to write any more.
    pub(crate) fn cancel_send(&mut self, id: Id) -> Old {
        let is_late = self.chance(|weather| weather.late_cancel);
        let socket = self.sockets.get_mut(&id)?;
        let old = socket.writer.take();
        socket.is_cut = socket.send.as_ref().is_none_or(|send| send.sent < send.bytes.len());
        if let Some(send) = &mut socket.send {
            send.is_orphan = true;
            let is_over = send.result.is_some();
            let sent = send.sent;
            if is_over || !is_late {
                socket.send = None;
            }
            self.orphans += 1;
            self.note(What::SendCancelled, id, sent);
        }
        old
    }

    /// Ends the writing side, the reading side, or both.
    pub(crate) fn shut_down(&mut self, id: Id, read: bool, write: bool) -> Result<(), i32> {
        let socket = self.sockets.get_mut(&id).expect("it is held");
        if socket.is_reset || socket.other.is_none() {
            return Err(libc::ENOTCONN);
        }
        let other = socket.other.expect("just seen");
        if read {
            socket.incoming.has_ended = true;
            self.after(Duration::ZERO, Event::Look { reader: id });
        }
        let socket = self.sockets.get_mut(&id).expect("just seen");
        if !write || std::mem::replace(&mut socket.is_shut_down, true) {
            return Ok(());
        }
        socket.figures.shut_down.set(Some(self.now));
        // Nothing may come after the end.
        let send = socket.send.take();
        let waits = send.is_some_and(|send| !send.is_orphan);
        self.note(What::ShutsDown, id, 0);
        self.push(other, Segment::End);
        if waits {
            self.after(Duration::ZERO, Event::Room { writer: id });
        }
        Ok(())
    }
}

//! Connections: how they come and go.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Poll, Waker};
use std::time::Duration;

use executor::Fired;

use crate::pipe::Segment;
use crate::socket::{Listening, Socket, UNDELIVERED};
use crate::trace::What;
use crate::world::{Event, Id, Old, State};

/// How often a client knocks at a full backlog: the first time again after a second, then after twice as long.
const TRIES: u32 = 6;

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

    pub(crate) fn start_operation(&mut self) -> u64 {
        self.operations += 1;
        self.name().0
    }
}

//! Data: how it gets across.

use std::task::{Poll, Waker};
use std::time::Duration;

use executor::Fired;

use crate::pipe::Segment;
use crate::socket::{Sending, Socket, UNDELIVERED};
use crate::trace::What;
use crate::world::{Event, Id, Old, State};

impl State {
    /// Puts a segment on its way. In order, however long the latency.
    pub(crate) fn push(&mut self, to: Id, segment: Segment) {
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
            // Nothing comes after a reset.
            Segment::Bytes(bytes) if socket.is_reset => {
                socket.incoming.taken += bytes.len() as u64;
                What::Arrives
            }
            Segment::Bytes(bytes) => {
                count = bytes.len();
                socket.incoming.unread.extend(bytes);
                What::Arrives
            }
            Segment::End => {
                socket.incoming.has_ended |= !socket.is_reset;
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
        let ends = [Some(id), socket.other];
        self.note(What::Resets, id, 0);
        for end in ends.into_iter().flatten() {
            if let Some(socket) = self.sockets.get(&end) {
                socket.figures.was_reset.set(true);
            }
            self.push(end, Segment::Reset);
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

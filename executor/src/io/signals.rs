//! Signals, as a program awaits them.
//!
//! What a signal does is a property of the process, not of a runtime, so all who want to know of it have to share one
//! handler. That is what the crate signal-hook keeps: libraries that use it don't take signals from each other, and
//! neither do two runtimes. Its handler notes which signal came and writes a byte to a socket, whose other end is a stream
//! like any other here.
//!
//! signalfd(2) would do without a handler, but it tells only of signals that are blocked, in every thread there is, also
//! in those of others; and a child inherits what is blocked, through exec, too: it could not be ended any more.

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::{consts::FORBIDDEN, iterator::backend::SignalDelivery, iterator::exfiltrator::SignalOnly};

use crate::io::runtime::Reader;

/// The signals that come to this process: see [`Net::signals`](crate::Net::signals). Dropping it means that it is told of
/// no more.
#[derive(Debug)]
pub struct Signals<R> {
    /// A byte comes after each signal.
    wakes: R,
    caught: SignalDelivery<UnixStream, SignalOnly>,
    /// Taken together, and told one by one: one that comes all the time keeps back no other.
    told: Vec<i32>,
}

impl<R: Reader> Signals<R> {
    pub(crate) fn new(signals: Vec<i32>, stream: impl FnOnce(UnixStream) -> io::Result<R>) -> io::Result<Signals<R>> {
        if let Some(signal) = signals.iter().find(|signal| !(1..=64).contains(*signal) || FORBIDDEN.contains(signal)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} cannot be handled")));
        }
        let (reader, writer) = UnixStream::pair()?;
        let wakes = stream(reader.try_clone()?)?;
        Ok(Signals { wakes, caught: SignalDelivery::with_pipe(reader, writer, SignalOnly, signals)?, told: Vec::new() })
    }

    /// The number of the next signal that came, since this was made. One that came several times before it was asked
    /// for may be told once, as the kernel itself does; different ones are told each, in no order.
    ///
    /// # Errors
    /// [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future loses no signal: the next call tells it.
    pub async fn next(&mut self) -> io::Result<i32> {
        loop {
            if let Some(signal) = self.told.pop() {
                return Ok(signal);
            }
            // First the bytes, then the signals: what comes in between leaves a byte for the next time.
            self.wakes.recv().await?;
            self.told.extend(self.caught.pending());
        }
    }
}

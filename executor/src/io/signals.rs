//! Signals, as a program awaits them.
//!
//! What a signal does is a property of the process, not of a runtime. So all code that wants to
//! learn of a signal has to share one handler. The crate signal-hook keeps this handler: libraries
//! that use it don't take signals from each other, and neither do two runtimes. The handler notes
//! which signal came and writes a byte to a socket. The other end of the socket is a stream like
//! any other here.
//!
//! signalfd(2) needs no handler, but it reports only signals that are blocked in every thread of
//! the process, also in threads that other code started. And a child inherits the blocked signals,
//! even through exec: they could not end it any more.

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::{consts::FORBIDDEN, iterator::backend::SignalDelivery, iterator::exfiltrator::SignalOnly};

use crate::io::runtime::Reader;

/// The signals that come to this process: see [`Net::signals`](crate::Net::signals). Dropping it
/// stops the reports to it.
///
/// # Examples
///
/// ```
/// use executor::{Reader, Signals};
///
/// /// Stops the runtime at the first signal.
/// async fn stop_at<R: Reader>(rt: impl executor::Runtime, mut signals: Signals<R>) {
///     if signals.next().await.is_ok() {
///         rt.stop();
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Signals<R> {
    /// One byte arrives after each signal.
    wakes: R,
    caught: SignalDelivery<UnixStream, SignalOnly>,
    /// Taken from `caught` together, and returned one by one: a signal that comes all the time
    /// cannot hold back another.
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

    /// Waits for the next signal and returns its number. Signals count from the moment this was
    /// made. A signal that came several times before the call may be returned once, as the kernel
    /// itself does. Different signals are all returned, in no fixed order.
    ///
    /// # Errors
    /// [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future loses no signal: the next call returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let mut signals = rt.signals([1, 15])?;
    /// match signals.next().await? {
    ///     1 => println!("SIGHUP"),
    ///     _ => println!("SIGTERM"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> io::Result<i32> {
        loop {
            if let Some(signal) = self.told.pop() {
                return Ok(signal);
            }
            // First the bytes, then the signals: a signal in between leaves a byte for the next
            // time.
            self.wakes.recv().await?;
            self.told.extend(self.caught.pending());
        }
    }
}

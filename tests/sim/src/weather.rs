//! How the simulated world behaves: what is slow, small, short or late, and how often.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What may be expected of the world. Times and sizes are drawn from their range anew each time; a
/// *chance* is a probability from 0.0 to 1.0.
///
/// Nothing in [`calm`](Self::calm) and [`stormy`](Self::stormy) weather is a failure: all that a runtime must
/// hide, or a program must live with. Failures are asked for by name: [`resets`](Self::resets),
/// [`sockets`](Self::sockets).
///
/// ```
/// use sim::Weather;
/// let weather = Weather { buffer: 1..=1, resets: 0.001, ..Weather::stormy() };
/// ```
#[derive(Clone, Debug)]
pub struct Weather {
    /// How long bytes, ends of streams and requests to connect travel.
    pub latency: RangeInclusive<Duration>,
    /// How long it takes to complete a submitted operation that could be done at once.
    pub completion: RangeInclusive<Duration>,
    /// How long a turn of the loop takes, with the polls before it. Above zero, time goes on while tasks are
    /// busy; at zero it passes only when all wait.
    pub turn: RangeInclusive<Duration>,
    /// How much too late a sleep ends. (Never too early.)
    pub oversleep: RangeInclusive<Duration>,
    /// Bytes that one direction of a connection holds, on the way and unread; drawn once for each. A writer
    /// waits for room beyond that.
    pub buffer: RangeInclusive<usize>,
    /// Bytes that `recv` lends at most.
    pub chunk: usize,
    /// Sockets the program may hold at a time. Above it, connecting fails with EMFILE, and accepting pauses.
    pub sockets: usize,
    /// The chance that an operation is submitted, as on a proactor: it is completed later, and others in
    /// between. Else it is tried at once, as on a reactor, and waits for readiness if it can't be done.
    pub submitted: f64,
    /// The chance that a receive or an accept goes on after it has completed, and brings more before it is
    /// asked to.
    pub multishot: f64,
    /// The chance that a transfer moves fewer bytes than it could: of all counts, each as likely.
    pub short: f64,
    /// The chance that a turn wakes somebody for nothing.
    pub spurious: f64,
    /// The chance that a sleep ends early with nothing, as if by a signal; and that a turn reports only some of
    /// what happened.
    pub interrupted: f64,
    /// Whether things that happen at the same time happen in any order. Else first come, first served.
    pub reordered: bool,
    /// The chance that the cancel of a dropped operation comes too late: it completes nevertheless.
    pub late_cancel: f64,
    /// The chance that an attempt to accept fails with something that passes: no descriptor, no memory, a
    /// connection that is gone.
    pub accept_trouble: f64,
    /// The chance that a receive finds no buffer to receive into, and has to be made once more.
    pub no_buffer: f64,
    /// The chance that a piece of data never arrives, and the connection is reset instead.
    pub resets: f64,
}

const fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

impl Weather {
    /// Everything happens at once and as a whole; time passes only when all wait. For tests of what a program
    /// does, to the nanosecond.
    #[must_use]
    pub fn calm() -> Weather {
        Weather {
            latency: Duration::ZERO..=Duration::ZERO,
            completion: Duration::ZERO..=Duration::ZERO,
            turn: Duration::ZERO..=Duration::ZERO,
            oversleep: Duration::ZERO..=Duration::ZERO,
            buffer: 64 * 1024..=64 * 1024,
            chunk: 32 * 1024,
            sockets: usize::MAX,
            submitted: 0.0,
            multishot: 0.0,
            short: 0.0,
            spurious: 0.0,
            interrupted: 0.0,
            reordered: false,
            late_cancel: 0.0,
            accept_trouble: 0.0,
            no_buffer: 0.0,
            resets: 0.0,
        }
    }

    /// All that a correct program doesn't notice, except by its clock: operations that are tried and such that
    /// are submitted, short transfers, wakes for nothing, signals, completions in any order, cancels that come
    /// too late, an accept loop in trouble, small buffers.
    #[must_use]
    pub fn stormy() -> Weather {
        Weather {
            latency: us(10)..=us(1000),
            completion: us(0)..=us(100),
            turn: us(1)..=us(20),
            oversleep: us(0)..=us(60),
            buffer: 4096..=64 * 1024,
            chunk: 4096,
            submitted: 0.5,
            multishot: 0.5,
            short: 0.3,
            spurious: 0.05,
            interrupted: 0.05,
            reordered: true,
            late_cancel: 0.5,
            accept_trouble: 0.1,
            no_buffer: 0.05,
            ..Weather::calm()
        }
    }
}

impl Default for Weather {
    /// [`calm`](Self::calm).
    fn default() -> Self {
        Weather::calm()
    }
}

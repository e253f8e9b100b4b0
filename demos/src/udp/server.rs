//! The server. It keeps next to nothing between two datagrams, so there is nothing to accept, and nothing to close.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use executor::{IoBuf, Net, Port, UdpSocket};
use fastrand::Rng;

use super::echoes::Echoes;
use crate::serve::unless_stopping;

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Received.
    pub datagrams: u64,
    /// Answers that were sent.
    pub answered: u64,
    /// Questions and answers that were lost on purpose.
    pub dropped: u64,
    /// Questions whose end didn't fit.
    pub cut: u64,
    /// Answers that the kernel refused.
    pub unsent: u64,
    /// Datagrams of peers that send back what they get. They were not answered.
    pub echoes: u64,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Served { datagrams, answered, dropped, cut, unsent, echoes } = self;
        write!(
            f,
            "datagrams={datagrams} answered={answered} dropped={dropped} cut={cut} unsent={unsent} echoes={echoes}"
        )
    }
}

/// A network that loses datagrams.
pub struct Loss {
    /// The chance of each, from 0.0 to 1.0.
    pub chance: f64,
    /// Where the chance comes from.
    pub random: Rng,
}

impl Loss {
    /// Whether the next datagram is lost.
    fn hits(&mut self) -> bool {
        self.random.f64() < self.chance
    }
}

/// Answers until the runtime is stopped. A question has room for so many bytes; `cut` hears of longer ones, of which the
/// end is gone: their length, and who sent them.
///
/// # Errors
/// Those of receiving.
pub async fn serve<R: Net>(
    rt: &R,
    socket: &UdpSocket<R::Port>,
    room: usize,
    mut loss: Loss,
    cut: impl Fn(usize, SocketAddr),
) -> io::Result<Served> {
    let (mut served, mut buffer, mut echoes) = (Served::default(), vec![0; room], Echoes::default());
    while let Some((received, question)) = unless_stopping(rt, socket.read_from(buffer)).await {
        let (length, from) = received?;
        served.datagrams += 1;
        if length > room {
            served.cut += 1;
            cut(length, from);
        }
        buffer = question;
        if loss.hits() {
            served.dropped += 1;
            continue;
        }
        let fits = length.min(room);
        let capitals = buffer[..fits].to_ascii_uppercase();
        if echoes.is_echo(from, &buffer[..fits], &capitals) {
            served.echoes += 1;
            continue;
        }
        buffer[..fits].copy_from_slice(&capitals);
        if loss.hits() {
            served.dropped += 1;
            continue;
        }
        buffer = answer(socket, buffer, fits, from, &mut served).await;
    }
    Ok(served)
}

/// Sends the first bytes of the buffer. That it can't be sent is no reason to end: it is one more lost datagram.
async fn answer<P: Port>(
    socket: &UdpSocket<P>,
    buffer: Vec<u8>,
    length: usize,
    to: SocketAddr,
    served: &mut Served,
) -> Vec<u8> {
    let (sent, slice) = socket.send_to(buffer.slice(0..length), to).await;
    match sent {
        Ok(()) => served.answered += 1,
        Err(_) => served.unsent += 1,
    }
    slice.into_inner()
}

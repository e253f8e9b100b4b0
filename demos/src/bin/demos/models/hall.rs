//! Where the connections of a rung come in: the listener, the limit, the refusal, the counters, the wish to end.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::counters::{Call, Counters};
use super::service::{BUFFER, Service, refusal};
use super::stop::Stop;
use crate::log;

/// How long accepting rests when the machine is short of something, and how often in a row.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES: usize = 100;
/// How many connections in a row may fail before accepting rests after each further one.
const FAILURES: usize = 100;

/// What a rung is given.
pub struct Hall {
    /// The rung's name, which stands on the page.
    pub name: &'static str,
    pub service: Service,
    pub listener: Arc<TcpListener>,
    /// Connections at the same time; more are refused.
    pub limit: usize,
    pub counters: &'static Counters,
    pub stop: Arc<Stop>,
}

/// Who came in.
pub enum Guest {
    /// One to be served.
    Welcome(TcpStream),
    /// One too many, who has been told so.
    Refused,
    /// Nobody is at the door, or the end has come.
    Nobody,
}

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The machine is short of something, which may pass.
    Shortage,
    /// The listener, or the call itself: nothing can ever be accepted.
    Listener,
    /// The one connection that was not made. The next one may be well.
    Connection,
}

/// Sorts an error of accept(2). The call also passes on the errors of the network that the new connection has met, and
/// a firewall's EPERM. There are many of these, so what is not known to be about something else is about the connection.
fn trouble(error: Errno) -> Trouble {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Trouble::Shortage,
        Errno::BADF | Errno::FAULT | Errno::INVAL | Errno::NOTSOCK | Errno::NOSYS => Trouble::Listener,
        _ => Trouble::Connection,
    }
}

impl Hall {
    /// Says that clients may come. The rung is set up.
    pub fn ready(&self) -> io::Result<()> {
        let line = format!("listening on {} ({})", self.listener.local_addr()?, self.name);
        log::tell_patiently(line);
        Ok(())
    }

    /// The next one who comes: waits if the listener is blocking.
    pub fn accept(&self, present: usize, flags: SocketFlags) -> io::Result<Guest> {
        let (mut pauses, mut failures) = (0, 0);
        loop {
            self.counters.call(Call::Accept);
            let error = match accept_with(&*self.listener, flags | SocketFlags::CLOEXEC) {
                Ok(socket) => return Ok(self.admit(socket, present)),
                Err(Errno::WOULDBLOCK) => return Ok(Guest::Nobody),
                Err(_) if self.stop.is_asked() => return Ok(Guest::Nobody),
                Err(error) => error,
            };
            match trouble(error) {
                Trouble::Shortage if pauses < PAUSES => {
                    pauses += 1;
                    thread::sleep(PAUSE);
                }
                Trouble::Connection => {
                    failures += 1;
                    if failures > FAILURES {
                        thread::sleep(PAUSE);
                    }
                }
                Trouble::Shortage | Trouble::Listener => return Err(error.into()),
            }
        }
    }

    /// Lets in one who was accepted, or says that there are too many.
    pub fn admit(&self, socket: OwnedFd, present: usize) -> Guest {
        let stream = TcpStream::from(socket);
        self.counters.accepted();
        if present < self.limit {
            return Guest::Welcome(stream);
        }
        let limit = self.limit;
        self.refuse(&stream, &format!("{} serves {limit} connections at a time, come back later", self.name));
        Guest::Refused
    }

    /// Tells one that it is not served, as far as that is possible without waiting.
    pub fn refuse(&self, stream: &TcpStream, reason: &str) {
        if self.counters.refused() {
            log::say(format_args!("demos: refused a connection: {reason} (this is said once)"));
        }
        let told = || -> io::Result<()> {
            stream.set_nonblocking(true)?;
            // What it has said already and nobody has read would turn the end into a reset.
            let mut heard = [0; BUFFER];
            let count = { stream }.read(&mut heard).unwrap_or(0);
            { stream }.write_all(&refusal(self.service, &heard[..count], reason))?;
            stream.shutdown(Shutdown::Write)
        };
        // Who does not wait for the answer misses it.
        let _ = told();
    }

    /// Receives, and counts that.
    pub fn receive(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.counters.call(Call::Recv);
            match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Sends some of it, and counts that.
    pub fn send(&self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.counters.call(Call::Send);
            match stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// accept(2) names these, and says of most of them: treat them like EAGAIN.
    #[test]
    fn what_a_connection_has_met_says_nothing_about_the_next_one() {
        let of_connections = [
            Errno::CONNABORTED,
            Errno::CONNRESET,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::INTR,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::NONET,
            Errno::NOPROTOOPT,
            Errno::OPNOTSUPP,
            Errno::PERM,
            Errno::PROTO,
            Errno::TIMEDOUT,
        ];
        for error in of_connections {
            assert_eq!(trouble(error), Trouble::Connection, "{error}");
        }
        for error in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
            assert_eq!(trouble(error), Trouble::Listener, "{error}");
        }
        assert_eq!(trouble(Errno::MFILE), Trouble::Shortage);
    }
}

//! The client: asks, waits, asks again.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use executor::{Net, UdpSocket};

use super::LONGEST_DATAGRAM;

/// How often the time to wait is doubled at most.
const DOUBLINGS: u32 = 4;

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first time. It doubles with each further one, up to sixteen times as long.
    pub first: Duration,
    /// How often a question is asked again.
    pub retries: u32,
}

impl Patience {
    /// How long to wait the so-many-th time, counted from 0.
    fn time(&self, attempt: u32) -> Duration {
        self.first * 2u32.pow(attempt.min(DOUBLINGS))
    }

    /// How long it takes until a question is given up.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let doubling: Duration = (0..=self.retries.min(DOUBLINGS)).map(|attempt| self.time(attempt)).sum();
        let further = self.time(DOUBLINGS).saturating_mul(self.retries.saturating_sub(DOUBLINGS));
        doubling.saturating_add(further)
    }
}

/// What it took so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Questions with an answer.
    pub answered: u64,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Times that ended without an answer.
    pub timeouts: u64,
    /// Answers to a question that was answered before, and what else was none.
    pub late: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { answered, sent, timeouts, late } = self;
        write!(f, "answered={answered} sent={sent} timeouts={timeouts} late={late}")
    }
}

/// Why there is no answer, or not all of it.
#[derive(Debug)]
pub enum Unanswered {
    /// None came, however often it was asked; the last thing the kernel said, if it did.
    Silence(u32, Option<io::Error>),
    /// The answer has fewer bytes than the question: so many of so many.
    Cut(usize, usize),
    /// It can't be sent, such as what is too long for any datagram.
    Unsent(io::Error),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Silence(times, None) => write!(f, "asked {times} times, and no answer came"),
            Unanswered::Silence(times, Some(error)) => write!(f, "asked {times} times, and no answer came: {error}"),
            Unanswered::Cut(came, went) => {
                write!(f, "of a datagram of {went} bytes the server answered {came}: it cuts what is longer")
            }
            Unanswered::Unsent(error) => write!(f, "cannot send: {error}"),
        }
    }
}

impl std::error::Error for Unanswered {}

/// One who asks.
pub struct Client<R: Net> {
    rt: R,
    socket: UdpSocket<R::Port>,
    /// Where the server may be, and which of these it is.
    servers: Vec<SocketAddr>,
    at: usize,
    patience: Patience,
    /// Of the last question. Its answer begins with the same.
    number: u64,
    /// What it took.
    pub outcome: Outcome,
}

impl<R: Net> Client<R> {
    /// Makes a client of the server at one of these addresses. It keeps to the first that answers. The socket is
    /// connected: it receives only from that address, and a send fails if no server listens there.
    ///
    /// # Errors
    /// Those of making the socket, for the last address. `AddrNotAvailable` if there is none.
    pub fn new(rt: &R, servers: Vec<SocketAddr>, patience: Patience) -> io::Result<Client<R>> {
        let mut failed = io::Error::from(ErrorKind::AddrNotAvailable);
        for (at, server) in servers.iter().enumerate() {
            match open(rt, *server) {
                Ok(socket) => {
                    let outcome = Outcome::default();
                    return Ok(Client { rt: rt.clone(), socket, servers, at, patience, number: 0, outcome });
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Asks until there is an answer: the text without its number.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(&mut self, text: &[u8]) -> Result<Vec<u8>, Unanswered> {
        self.number += 1;
        let mark = format!("{} ", self.number).into_bytes();
        let question = [&mark[..], text].concat();
        let mut refused = None;
        for attempt in 0..=self.patience.retries {
            if attempt > 0 {
                self.outcome.timeouts += 1;
            }
            let deadline = self.rt.now() + self.patience.time(attempt);
            match self.attempt(&mark, &question, deadline, &mut refused).await? {
                None => {}
                Some(answer) if answer.len() < question.len() => {
                    return Err(Unanswered::Cut(answer.len(), question.len()));
                }
                Some(answer) => {
                    self.outcome.answered += 1;
                    return Ok(answer[mark.len()..].to_vec());
                }
            }
        }
        self.outcome.timeouts += 1;
        Err(Unanswered::Silence(self.patience.retries + 1, refused))
    }

    /// Asks once, at each address in turn until one does not refuse. Returns the answer that comes until the deadline.
    async fn attempt(
        &mut self,
        mark: &[u8],
        question: &[u8],
        deadline: Instant,
        refused: &mut Option<io::Error>,
    ) -> Result<Option<Vec<u8>>, Unanswered> {
        for _ in 0..self.servers.len() {
            self.outcome.sent += 1;
            match self.socket.send(question.to_vec()).await.0 {
                Ok(()) => {}
                Err(error) if is_refusal(&error) => *refused = Some(error),
                Err(error) => return Err(Unanswered::Unsent(error)),
            }
            match self.hear(mark, deadline).await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {
                    self.turn();
                    return Ok(None);
                }
                Err(error) => *refused = Some(error),
            }
            if !self.turn() {
                break;
            }
        }
        // Nobody is there. Perhaps somebody is in a moment: the time has to pass all the same.
        self.rt.sleep_until(deadline).await;
        Ok(None)
    }

    /// Turns to the next address where a socket can be made, as long as none has answered. Returns whether there is one.
    fn turn(&mut self) -> bool {
        let others = if self.outcome.answered == 0 { self.servers.len() - 1 } else { 0 };
        for _ in 0..others {
            self.at = (self.at + 1) % self.servers.len();
            if let Ok(socket) = open(&self.rt, self.servers[self.at]) {
                self.socket = socket;
                return true;
            }
        }
        false
    }

    /// The answer that begins with the mark, if it comes in time. The error is that of an address that nobody hears.
    async fn hear(&mut self, mark: &[u8], deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            let left = deadline.saturating_duration_since(self.rt.now());
            let read = self.rt.timeout(left, self.socket.read_from(vec![0; LONGEST_DATAGRAM]));
            let Ok((read, buffer)) = read.await else { return Ok(None) };
            let (length, _) = read?;
            let answer = &buffer[..length.min(buffer.len())];
            if answer.starts_with(mark) {
                return Ok(Some(answer.to_vec()));
            }
            self.outcome.late += 1;
        }
    }
}

/// A socket that is connected to this server.
fn open<R: Net>(rt: &R, server: SocketAddr) -> io::Result<UdpSocket<R::Port>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = rt.bind_udp(any)?;
    socket.connect(server)?;
    Ok(socket)
}

/// What a connected socket is told of an earlier datagram.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;

    use super::*;

    /// The first address refuses, or says nothing; the second answers.
    #[test]
    fn all_addresses_of_a_server_are_asked() {
        let rt = reactor::Reactor::new().unwrap();
        let bind = || StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (server, silent) = (bind(), bind());
        let dead = bind().local_addr().unwrap();
        let live = server.local_addr().unwrap();
        // It ends with the process.
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((count, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..count], from).unwrap();
            }
        });
        rt.block_on(async {
            let first = Duration::from_millis(50);
            for (other, retries) in [(dead, 0), (silent.local_addr().unwrap(), 100)] {
                let patience = Patience { first, retries };
                let mut client = Client::new(&rt, vec![other, live], patience).unwrap();
                for question in ["one", "two"] {
                    assert_eq!(client.ask(question.as_bytes()).await.unwrap(), question.as_bytes());
                }
            }
            let mut nobody = Client::new(&rt, vec![dead, dead], Patience { first, retries: 1 }).unwrap();
            let unanswered = nobody.ask(b"x").await.unwrap_err();
            assert!(matches!(unanswered, Unanswered::Silence(2, Some(_))), "{unanswered}");
        });
    }
}

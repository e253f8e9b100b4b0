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
    patience: Patience,
    /// Of the last question. Its answer begins with the same.
    number: u64,
    /// What it took.
    pub outcome: Outcome,
}

impl<R: Net> Client<R> {
    /// A client of this server. The socket is connected: it hears nobody else, and it is told if nobody is there.
    ///
    /// # Errors
    /// Those of making the socket.
    pub fn new(rt: &R, server: SocketAddr, patience: Patience) -> io::Result<Client<R>> {
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = rt.bind_udp(any)?;
        socket.connect(server)?;
        Ok(Client { rt: rt.clone(), socket, patience, number: 0, outcome: Outcome::default() })
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
            self.outcome.sent += 1;
            match self.socket.send(question.clone()).await.0 {
                Ok(()) => {}
                Err(error) if is_refusal(&error) => refused = Some(error),
                Err(error) => return Err(Unanswered::Unsent(error)),
            }
            match self.hear(&mark, deadline, &mut refused).await {
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

    /// The answer that begins with the mark, if it comes in time.
    async fn hear(&mut self, mark: &[u8], deadline: Instant, refused: &mut Option<io::Error>) -> Option<Vec<u8>> {
        loop {
            let left = deadline.saturating_duration_since(self.rt.now());
            let read = self.rt.timeout(left, self.socket.read_from(vec![0; LONGEST_DATAGRAM]));
            match read.await.ok()? {
                (Ok((length, _)), buffer) => {
                    let answer = &buffer[..length.min(buffer.len())];
                    if answer.starts_with(mark) {
                        return Some(answer.to_vec());
                    }
                    self.outcome.late += 1;
                }
                // Nobody is there. Perhaps somebody is in a moment: the time has to pass all the same.
                (Err(error), _) => {
                    *refused = Some(error);
                    self.rt.sleep_until(deadline).await;
                    return None;
                }
            }
        }
    }
}

/// What a connected socket is told of an earlier datagram.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}

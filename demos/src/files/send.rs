//! The sending side.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use executor::{Files, IoBuf};

use super::BLOCK;
use super::content::{Checksum, read_block};
use super::message::{Answer, Offer, Refusal};
use super::peer::{Peer, invalid};
use crate::connect::connect;

/// The first pause before another connection is tried. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How fast a receiver reads what it has of a file, at least, in bytes per second: it has to, before it answers.
const READS_AT_LEAST: u64 = 20_000_000;

/// Sends files to a receiver, one after the other on one connection, and on a new one when that breaks.
pub struct Sender<R: Files> {
    rt: R,
    addresses: Vec<SocketAddr>,
    peer: Option<Peer<R>>,
    patience: Duration,
    retries: u32,
    /// Sets what a new connection needs, such as options of its socket.
    pub prepare: fn(&R::Stream),
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Step {
    /// So many bytes of the file are known to have been handed over, or to be there.
    Place(u64),
    /// It didn't work; it is tried again after this time.
    Broken(String, Duration),
}

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the file that went over connections, those that were lost with one included.
    pub carried: u64,
    /// How often the file was offered.
    pub offers: u32,
}

/// Why a file was not sent.
#[derive(Debug)]
pub enum Fault {
    /// The receiver doesn't want it.
    Refused(String),
    /// No connection lasted.
    Broken(io::Error),
    /// The file can't be read, or has changed.
    Unreadable(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(why) => write!(f, "the receiver refused it: {why}"),
            Fault::Broken(error) => write!(f, "no connection lasted: {error}"),
            Fault::Unreadable(error) => write!(f, "cannot read it: {error}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Why an attempt failed.
enum Failure {
    Refused(Refusal),
    Broken(io::Error),
    Unreadable(io::Error),
}

impl<R: Files> Sender<R> {
    /// To the first of these addresses that answers. `patience` is how long the receiver may take to make any
    /// progress, `retries` how often in a row a new connection may bring nothing further.
    pub fn new(rt: R, addresses: Vec<SocketAddr>, patience: Duration, retries: u32) -> Sender<R> {
        Sender { rt, addresses, peer: None, patience, retries, prepare: |_| () }
    }

    /// The header of a file: reads all of it, to know its digest. `progress` is told how much is done.
    ///
    /// # Errors
    /// Those of reading it.
    pub async fn offer(file: &R::File, name: String, size: u64, progress: impl Fn(u64)) -> io::Result<Offer> {
        Ok(Offer { name, size, sha256: Checksum::of(file, size, progress).await?.text() })
    }

    /// Sends it. When a connection breaks, another one goes on where that ended.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn send(&mut self, file: &R::File, offer: &Offer, watch: impl Fn(Step)) -> Result<Sent, Fault> {
        let mut sent = Sent { carried: 0, offers: 0 };
        let (mut furthest, mut failures) = (0, 0);
        loop {
            let mut begun = None;
            let failure = match self.attempt(file, offer, &mut sent, &mut begun, &watch).await {
                Ok(()) => return Ok(sent),
                Err(failure) => failure,
            };
            self.peer = None;
            let (why, fault) = match failure {
                Failure::Unreadable(error) => return Err(Fault::Unreadable(error)),
                Failure::Refused(refusal) if !refusal.again => return Err(Fault::Refused(refusal.why)),
                Failure::Refused(refusal) => (refusal.why.clone(), Fault::Refused(refusal.why)),
                Failure::Broken(error) => (error.to_string(), Fault::Broken(error)),
            };
            // What the receiver has now and didn't have before is progress.
            if let Some(place) = begun.filter(|place| *place > furthest) {
                (furthest, failures) = (place, 0);
            }
            failures += 1;
            if failures > self.retries {
                return Err(fault);
            }
            let pause = (FIRST_PAUSE * 2u32.saturating_pow(failures - 1)).min(LONGEST_PAUSE);
            watch(Step::Broken(why, pause));
            self.rt.sleep(pause).await;
        }
    }

    /// Ends the connection, all files being sent.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub async fn end(&mut self) -> io::Result<()> {
        match self.peer.take() {
            Some(mut peer) => peer.end().await,
            None => Ok(()),
        }
    }

    /// Offers the file once; `begun` is where the receiver wanted it from.
    async fn attempt(
        &mut self,
        file: &R::File,
        offer: &Offer,
        sent: &mut Sent,
        begun: &mut Option<u64>,
        watch: &impl Fn(Step),
    ) -> Result<(), Failure> {
        if self.peer.is_none() {
            let stream = connect(&self.rt, &self.addresses, self.patience).await.map_err(Failure::Broken)?;
            (self.prepare)(&stream);
            self.peer = Some(Peer::new(self.rt.clone(), stream, self.patience));
        }
        let peer = self.peer.as_mut().expect("it is there now");
        sent.offers += 1;
        peer.say(offer).await.map_err(Failure::Broken)?;
        peer.set_patience(self.patience + Duration::from_secs(offer.size / READS_AT_LEAST));
        let mut place = match hear(peer).await? {
            Answer::SendFrom(place) if place <= offer.size => place,
            // It has it already.
            Answer::Received { bytes } if bytes == offer.size => return Ok(()),
            other => return Err(Failure::Broken(unexpected(&other))),
        };
        *begun = Some(place);
        watch(Step::Place(place));
        peer.set_patience(self.patience);
        let mut buffer = vec![0; BLOCK];
        while place < offer.size {
            let (count, filled) = read_block(file, buffer, place, offer.size).await.map_err(changed)?;
            buffer = match peer.write(filled.slice(0..count)).await {
                Ok(slice) => slice.into_inner(),
                // Perhaps the receiver has said why it ends.
                Err(error) => return Err(last_words(peer, error).await),
            };
            place += count as u64;
            sent.carried += count as u64;
            watch(Step::Place(place));
        }
        peer.set_patience(self.patience + Duration::from_secs(offer.size / READS_AT_LEAST));
        match hear(peer).await? {
            Answer::Received { bytes } if bytes == offer.size => Ok(()),
            other => Err(Failure::Broken(unexpected(&other))),
        }
    }
}

/// The receiver's next answer, if it isn't a refusal.
async fn hear<R: Files>(peer: &mut Peer<R>) -> Result<Answer, Failure> {
    match peer.hear().await.map_err(Failure::Broken)? {
        Some(Answer::Refused(refusal)) => Err(Failure::Refused(refusal)),
        Some(answer) => Ok(answer),
        None => Err(Failure::Broken(ErrorKind::UnexpectedEof.into())),
    }
}

/// The refusal that came before the connection broke with `error`, if one did.
async fn last_words<R: Files>(peer: &mut Peer<R>, error: io::Error) -> Failure {
    match hear(peer).await {
        Err(Failure::Refused(refusal)) => Failure::Refused(refusal),
        _ => Failure::Broken(error),
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    invalid(format!("the receiver answered {answer:?} where that makes no sense"))
}

/// It was read before, to make the digest: if it ends earlier now, it has changed.
fn changed(error: io::Error) -> Failure {
    Failure::Unreadable(match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "it has become shorter meanwhile"),
        _ => error,
    })
}

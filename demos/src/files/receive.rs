//! The receiving side.

use std::io::{self, ErrorKind};
use std::time::Duration;

use executor::{Files, IoBuf, RandomAccess, Runtime};
use futures_lite::future::or;

use super::BLOCK;
use super::content::{Checksum, write_block};
use super::folder::{Folder, Name, Partial};
use super::message::{Answer, Offer, Refusal};
use super::peer::Peer;
use super::uploads::{Turn, Uploads};
use crate::serve::unless_stopping;

/// A sender that brings bytes so soon, again and again, is not dead: it keeps its file, though another connection asks for it.
const LIVELY: Duration = Duration::from_secs(1);

/// What a receiver takes, and where to.
pub struct Inbox {
    /// Where it goes.
    pub folder: Folder,
    /// The largest file, in bytes.
    pub max_size: u64,
    /// How long a sender may take to make any progress.
    pub patience: Duration,
    /// The files that are on their way.
    pub uploads: Uploads,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What was offered.
    pub offer: Offer,
    /// How much of it was there before; or why it was not taken.
    pub outcome: Result<u64, String>,
}

/// Why a file isn't here.
enum Failure {
    /// The sender is told, and may offer the next.
    Refused(Refusal),
    /// The sender is told, but it is in the middle of the file: nothing more can be said on this connection.
    Midway(Refusal),
    /// There is nobody to tell.
    Broken(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

/// Receives files on a connection until the sender ends it, or until the runtime is stopped and no file is under way.
/// `report` hears of each.
///
/// # Errors
/// Those of the connection, `TimedOut` for a sender without progress, `InvalidData` for one who doesn't speak the
/// protocol. What has arrived of a file stays in the folder, to go on with.
pub async fn receive<R: Files>(rt: R, stream: R::Stream, inbox: &Inbox, report: impl Fn(&Arrival)) -> io::Result<()> {
    let mut peer = Peer::new(rt.clone(), stream, inbox.patience);
    while let Some(heard) = unless_stopping(&rt, peer.hear::<Offer>()).await {
        let offer = match heard {
            Ok(Some(offer)) => offer,
            Ok(None) => break,
            Err(error) => {
                if error.kind() == ErrorKind::InvalidData {
                    peer.say(&Answer::Refused(Refusal::for_good(error.to_string()))).await?;
                    peer.part().await;
                }
                return Err(error);
            }
        };
        let (answer, goes_on) = match take(&rt, &mut peer, inbox, &offer).await {
            Ok(before) => {
                let bytes = offer.size;
                report(&Arrival { offer, outcome: Ok(before) });
                (Answer::Received { bytes }, true)
            }
            Err(Failure::Broken(error)) => {
                let why = format!("the connection broke, what has come is kept: {error}");
                report(&Arrival { offer, outcome: Err(why) });
                return Err(error);
            }
            Err(Failure::Refused(refusal)) => (refuse(offer, refusal, &report), true),
            Err(Failure::Midway(refusal)) => (refuse(offer, refusal, &report), false),
        };
        peer.say(&answer).await?;
        if !goes_on {
            peer.part().await;
            return Ok(());
        }
    }
    peer.end().await
}

fn refuse(offer: Offer, refusal: Refusal, report: &impl Fn(&Arrival)) -> Answer {
    report(&Arrival { offer, outcome: Err(refusal.why.clone()) });
    Answer::Refused(refusal)
}

/// Takes one file. Returns how much of it was here before.
async fn take<R: Files>(rt: &R, peer: &mut Peer<R>, inbox: &Inbox, offer: &Offer) -> Result<u64, Failure> {
    if offer.size > inbox.max_size {
        let why = format!("{} bytes are more than the {} that are taken here", offer.size, inbox.max_size);
        return Err(Refusal::for_good(why).into());
    }
    if let Some(existing) = inbox.folder.existing(offer)? {
        if is_the_same(rt, existing, offer).await.map_err(disk("read the file that is there"))? {
            return Ok(offer.size);
        }
        inbox.folder.may_replace()?;
    }
    let turn = rt.timeout(inbox.patience, inbox.uploads.take_over(offer)).await;
    let turn = turn.map_err(|_| Refusal::for_now("another connection is in the middle of this file"))?;
    let Partial { file, length: before, name } = inbox.folder.begin(offer)?;
    // The lock is the file's, so it is kept until the part has its name or is gone.
    let file = rt.file_from_std(file).map_err(disk("use the file"))?;
    let finished = async {
        let checksum = Checksum::of(&file, before, |_| ()).await.map_err(disk("read what is there"))?;
        peer.say(&Answer::SendFrom(before)).await.map_err(Failure::Broken)?;
        let checksum = fill(rt, peer, &turn, &file, before, offer.size, checksum).await?;
        if checksum.text() != offer.sha256 {
            inbox.folder.discard(&name);
            let why = "the digest of what came is another one than was offered, so it is thrown away";
            // What was here before may be to blame, and is gone now.
            return Err(Refusal { why: why.to_owned(), again: before > 0 }.into());
        }
        // First the bytes and then the name: after a crash no name stands for a file that isn't whole.
        file.sync().await.map_err(disk("bring the file to the disk"))?;
        publish(rt, inbox, &name, offer).await
    };
    let finished = finished.await;
    // What is refused for good does not go on later. It would only fill the disk.
    if let Err(Failure::Refused(refusal) | Failure::Midway(refusal)) = &finished
        && !refusal.again
    {
        inbox.folder.discard(&name);
    }
    finished.map(|()| before)
}

/// Gives the finished file its name, and brings that to the disk.
async fn publish<R: Files>(rt: &R, inbox: &Inbox, name: &Name, offer: &Offer) -> Result<(), Failure> {
    inbox.folder.publish(name, offer)?;
    let folder = inbox.folder.itself().and_then(|folder| rt.file_from_std(folder)).map_err(disk("use the folder"))?;
    match folder.sync().await {
        // The file system (some of FUSE) syncs no folders. So there is nothing to be done about the name.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced.map_err(disk("bring the name to the disk")),
    }
}

/// Receives what comes from `place` to `end`.
async fn fill<R: Runtime, F: RandomAccess>(
    rt: &R,
    peer: &mut Peer<R>,
    turn: &Turn<'_>,
    file: &F,
    mut place: u64,
    end: u64,
    mut checksum: Checksum,
) -> Result<Checksum, Failure> {
    let mut buffer = vec![0; BLOCK];
    while place < end {
        let most = BLOCK.min(usize::try_from(end - place).unwrap_or(BLOCK));
        let read = async { peer.read(buffer.slice(0..most)).await.map_err(Failure::Broken) };
        let left = async {
            turn.is_over().await;
            rt.sleep(LIVELY).await;
            Err(Failure::Midway(Refusal::for_now("another connection has taken over this file")))
        };
        // Nothing is being written to the file while this waits.
        let (count, slice) = or(left, read).await?;
        if count == 0 {
            return Err(Failure::Broken(ErrorKind::UnexpectedEof.into()));
        }
        let filled = slice.into_inner();
        checksum.add(&filled[..count]);
        buffer = write_block(file, filled, count, place)
            .await
            .map_err(|error| Failure::Midway(Refusal::by_error("write the file", &error)))?;
        place += count as u64;
    }
    Ok(checksum)
}

async fn is_the_same<R: Files>(rt: &R, existing: std::fs::File, offer: &Offer) -> io::Result<bool> {
    if existing.metadata()?.len() != offer.size {
        return Ok(false);
    }
    let checksum = Checksum::of(&rt.file_from_std(existing)?, offer.size, |_| ()).await?;
    Ok(checksum.text() == offer.sha256)
}

/// Trouble of ours, which the sender is told of.
fn disk(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Refused(Refusal::by_error(what, &error))
}

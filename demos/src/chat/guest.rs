//! One connection, from its name to its end.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use async_lock::Mutex;
use executor::{Reader, Runtime, Stream, Writer};
use futures_lite::future::or;

use super::room::{Line, Member, Room};
use crate::framing::{Delimiter, FrameError, Frames};
use crate::serve::{LINGER_IDLE, LINGER_TIME, STUCK, linger, unless_stopping, write_unless_stuck};
use crate::text::misleads;

/// How long a client has to find a name.
pub const NAME_TIME: Duration = Duration::from_secs(60);
/// Characters of a name at most.
pub const NAME_LEN: usize = 20;
/// How long somebody who leaves has to read what is still to be said.
pub const FAREWELL_TIME: Duration = Duration::from_secs(5);
/// Lines that are sent with one write at most.
const BATCH: usize = 64;

const COMMANDS: &str = "/who, /quit";

/// Serves a client: asks for its name, and then has it take part in what is said in the room, until it leaves, is too
/// slow, breaks a rule, or the runtime is stopped.
///
/// # Errors
/// Those of the stream; [`FrameError::TooLong`] for a line beyond the limit.
pub async fn connection<R: Runtime>(rt: R, stream: R::Stream, room: Rc<Room>) -> Result<(), FrameError> {
    let (reader, writer) = stream.split();
    let lines = Frames::new(reader, Delimiter::lines(room.args.line.get()));
    let mut guest = Guest { rt, lines, writer: Mutex::new(writer), room };
    let result = guest.visit().await;
    if let Err(FrameError::TooLong { limit, .. }) = &result {
        let why = format!("* a line has {limit} bytes at most: good bye\n");
        guest.rt.timeout(FAREWELL_TIME, guest.reply(&why)).await.map_err(io::Error::from)??;
    }
    guest.writer.lock().await.shutdown().await?;
    if result.is_err() {
        linger(&guest.rt, &mut guest.lines.into_reader(), LINGER_IDLE, LINGER_TIME).await;
    }
    match result {
        // The end of a stream is the end of a visit, also within a line.
        Err(FrameError::CutOff { .. }) => Ok(()),
        result => result,
    }
}

struct Guest<R, I, O> {
    rt: R,
    lines: Frames<I, Delimiter>,
    writer: Mutex<O>,
    room: Rc<Room>,
}

/// Why a visit ends.
enum End {
    /// The client has said all it had to say, or broke a rule.
    Left(Result<(), FrameError>),
    /// It can't be written to any more.
    Broken(io::Result<()>),
    TooSlow,
}

impl<R: Runtime, I: Reader, O: Writer> Guest<R, I, O> {
    async fn visit(&mut self) -> Result<(), FrameError> {
        let rt = self.rt.clone();
        let Ok(name) = rt.timeout(NAME_TIME, self.introduction()).await else {
            return Ok(self.reply("* no name, no talk: good bye\n").await?);
        };
        let Some((seat, queue)) = name? else { return Ok(()) };
        let member = Rc::clone(&seat.member);
        let Guest { rt, lines, writer, room } = self;
        let name = &member.name;
        // Two things at a time in one task: what is heard, and what is said.
        let mut hearing = pin!(hear(rt, writer, &queue, &member));
        let end = {
            let talking = async {
                room.tell(rt, &member, &format!("* {name} has come")).await;
                End::Left(talk(rt, lines, writer, room, &member).await)
            };
            let hearing = async { End::Broken(hearing.as_mut().await) };
            let closing = async {
                member.closed().await;
                End::TooSlow
            };
            or(closing, or(talking, hearing)).await
        };
        drop(seat);
        let how = if member.is_closed() { "read too slowly and was closed" } else { "has left" };
        room.tell(rt, &member, &format!("* {name} {how}")).await;
        match end {
            End::Left(result) => {
                // The queue is closed by now: this ends when all that was said before is written.
                rt.timeout(FAREWELL_TIME, hearing).await.unwrap_or_else(|elapsed| Err(elapsed.into()))?;
                result
            }
            End::Broken(result) => Ok(result?),
            End::TooSlow => Ok(()),
        }
    }

    /// Asks for a name until there is one that nobody else has; `None` if the client goes before, or the server ends.
    async fn introduction(&mut self) -> Result<Option<(super::room::Seat, Receiver<Line>)>, FrameError> {
        self.reply("* welcome: what is your name?\n").await?;
        while let Some(line) = unless_stopping(&self.rt, self.lines.next()).await {
            let Some(line) = line? else { break };
            let name = text(line);
            if !is_name(&name) {
                let rule = format!("* a name has 1 to {NAME_LEN} letters, digits, - or _: which one?\n");
                self.reply(&rule).await?;
                continue;
            }
            let here = self.room.names();
            if let Some(entered) = self.room.enter(&name) {
                self.reply(&format!("* hello {name}; {}; {COMMANDS}\n", present(&here))).await?;
                return Ok(Some(entered));
            }
            self.reply(&format!("* there is a {name} already: another name?\n")).await?;
        }
        Ok(None)
    }

    async fn reply(&self, line: &str) -> io::Result<()> {
        reply(&self.rt, &self.writer, line).await
    }
}

/// Passes on what the client says, and does what it asks for, until it has said all or the server ends.
async fn talk<R: Runtime, I: Reader, O: Writer>(
    rt: &R,
    lines: &mut Frames<I, Delimiter>,
    writer: &Mutex<O>,
    room: &Room,
    member: &Member,
) -> Result<(), FrameError> {
    while let Some(line) = unless_stopping(rt, lines.next()).await {
        let Some(line) = line? else { return Ok(()) };
        let said = text(line);
        match said.as_str() {
            "" => {}
            "/quit" => return Ok(()),
            // A client that asks and doesn't read waits here, and is not asked for more meanwhile.
            "/who" => reply(rt, writer, &format!("* {}\n", present(&room.names()))).await?,
            other if other.starts_with('/') => reply(rt, writer, &format!("* there are only {COMMANDS}\n")).await?,
            said => room.tell(rt, member, &format!("{}: {said}", member.name)).await,
        }
    }
    Ok(reply(rt, writer, "* the server ends: good bye\n").await?)
}

/// Writes what comes through the queue, as many lines at once as there are, until it is closed and empty.
async fn hear<R: Runtime, O: Writer>(
    rt: &R,
    writer: &Mutex<O>,
    queue: &Receiver<Line>,
    member: &Member,
) -> io::Result<()> {
    while let Ok(first) = queue.recv().await {
        let mut lines = Vec::new();
        let more = std::iter::from_fn(|| queue.try_recv().ok());
        std::iter::once(first).chain(more).take(BATCH).for_each(|line| lines.extend_from_slice(&line));
        let lost = member.catches_up();
        if lost > 0 {
            let before = format!("* you read too slowly: {lost} lines before these are lost\n");
            lines.splice(..0, before.into_bytes());
        }
        write_unless_stuck(rt, &mut *writer.lock().await, lines, STUCK).await?;
    }
    Ok(())
}

async fn reply<R: Runtime, O: Writer>(rt: &R, writer: &Mutex<O>, line: &str) -> io::Result<()> {
    write_unless_stuck(rt, &mut *writer.lock().await, line.as_bytes().to_vec(), STUCK).await.map(drop)
}

/// What was said, with nothing in it that would do something to a terminal.
fn text(line: &[u8]) -> String {
    let clean = |letter: char| if misleads(letter) { '\u{FFFD}' } else { letter };
    String::from_utf8_lossy(line).trim().chars().map(clean).collect()
}

fn is_name(name: &str) -> bool {
    let is_fit = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    (1..=NAME_LEN).contains(&name.chars().count()) && name.chars().all(is_fit)
}

fn present(names: &[String]) -> String {
    if names.is_empty() { "nobody else is here".to_owned() } else { format!("here: {}", names.join(", ")) }
}

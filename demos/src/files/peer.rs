//! A connection on which nothing takes for ever, with messages and bytes on it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use executor::{IoBuf, IoBufMut, Reader, Runtime, Slice, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::LONGEST_MESSAGE;
use crate::serve::{LINGER_IDLE, LINGER_TIME, linger, write_unless_stuck};

/// The other side.
pub struct Peer<R: Runtime> {
    rt: R,
    stream: R::Stream,
    /// How long it may take to make any progress.
    patience: Duration,
}

impl<R: Runtime> Peer<R> {
    pub fn new(rt: R, stream: R::Stream, patience: Duration) -> Peer<R> {
        Peer { rt, stream, patience }
    }

    /// How long it may take to make any progress from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next message; `None` if the peer has ended the connection instead.
    pub async fn hear<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let (count, prefix) = self.fill(vec![0; 4]).await?;
        let Ok(prefix) = <[u8; 4]>::try_from(&prefix[..count]) else {
            return if count == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        };
        let length = u32::from_be_bytes(prefix) as usize;
        if !(1..=LONGEST_MESSAGE).contains(&length) {
            return Err(invalid(format!("a message of {length} bytes: 1 to {LONGEST_MESSAGE} are allowed")));
        }
        let (count, message) = self.fill(vec![0; length]).await?;
        if count < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(&message).map(Some).map_err(|error| invalid(format!("a message without sense: {error}")))
    }

    /// Sends a message.
    pub async fn say<M: Serialize>(&mut self, message: &M) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length as usize <= LONGEST_MESSAGE);
        let length = length.ok_or_else(|| invalid(format!("a message of {} bytes is too long", text.len())))?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(text);
        self.write(bytes).await.map(drop)
    }

    /// Fills the buffer, or as much of it as the peer sends before it ends its side; says how much.
    async fn fill(&mut self, buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        let most = buffer.len();
        let (mut buffer, mut filled) = (buffer, 0);
        while filled < most {
            let (read, slice) = self.read(buffer.slice(filled..most)).await?;
            buffer = slice.into_inner();
            match read {
                0 => break,
                count => filled += count,
            }
        }
        Ok((filled, buffer))
    }

    /// Reads some bytes into the buffer, and says how many: 0 at the end.
    pub async fn read<B: IoBufMut>(&mut self, buffer: Slice<B>) -> io::Result<(usize, Slice<B>)> {
        let (result, buffer) = self.rt.timeout(self.patience, self.stream.read(buffer)).await?;
        Ok((result?, buffer))
    }

    /// Writes the whole buffer, and gives it back. Any byte that the peer takes is progress.
    pub async fn write<B: IoBuf>(&mut self, buffer: B) -> io::Result<B> {
        write_unless_stuck(&self.rt, &mut self.stream, buffer, self.patience).await
    }

    /// Says that nothing more comes.
    pub async fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Ends although the peer goes on sending, and may have still to read what it was told.
    pub async fn part(mut self) {
        if self.end().await.is_ok() {
            linger(&self.rt, &mut self.stream, LINGER_IDLE, LINGER_TIME).await;
        }
    }
}

/// The peer doesn't speak the protocol.
pub fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

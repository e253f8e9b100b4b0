//! Reading and writing messages through a codec.

use std::io;
use std::ops::Range;
use std::time::Duration;

use executor::{IoBuf, Reader, Runtime, Writer};

use super::{Codec, FrameError};
use crate::serve::write_unless_stuck;

/// Memory that is kept between messages; what a long one needed beyond goes back.
const KEPT: usize = 16 * 1024;

/// The messages that come through a reader.
///
/// All that is known between two calls is kept here, and none of it in a future. So a [`next`](Frames::next) that is
/// given up in the middle of a message, for a timeout, say, goes on where it was when it is called again.
#[derive(Debug)]
pub struct Frames<R, C> {
    reader: R,
    codec: C,
    /// What has come. The bytes before `start` were taken.
    buffer: Vec<u8>,
    start: usize,
    receives: u64,
}

impl<R: Reader, C: Codec> Frames<R, C> {
    /// Reads `reader` through `codec`.
    pub fn new(reader: R, codec: C) -> Self {
        Frames { reader, codec, buffer: Vec::new(), start: 0, receives: 0 }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// It holds the bytes of one message, of those behind it that came along with it, and nothing that was only
    /// announced.
    ///
    /// # Errors
    /// Those of the codec and of the stream; [`FrameError::CutOff`] if that ended within a message. There is no way
    /// to find the next message after one of the codec's, so it is given again and again.
    ///
    /// # Cancel safety
    /// Dropping this future loses no byte: the next call gets the message.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.find().await?.map(|message| &self.buffer[message]))
    }

    /// The same, from a peer that is not silent: if nothing comes for `silence`, that is an error, `TimedOut`. A message
    /// may take longer, as long as its bytes come.
    ///
    /// # Errors
    /// As [`next`](Frames::next).
    ///
    /// # Cancel safety
    /// As [`next`](Frames::next).
    pub async fn next_unless_silent<X: Runtime>(
        &mut self,
        rt: &X,
        silence: Duration,
    ) -> Result<Option<&[u8]>, FrameError> {
        loop {
            let before = self.receives;
            match rt.timeout(silence, self.find()).await {
                Ok(found) => return Ok(found?.map(|message| &self.buffer[message])),
                Err(_) if self.receives > before => {}
                Err(elapsed) => return Err(FrameError::Io(elapsed.into())),
            }
        }
    }

    /// Where the next message lies in the buffer.
    async fn find(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            self.make_room();
            // The only place where it waits. What comes is in the buffer before anything else can happen.
            let chunk = self.reader.recv().await?;
            let bytes = chunk.bytes();
            if bytes.is_empty() {
                let rest = self.buffer.len();
                return if rest == 0 { Ok(None) } else { Err(FrameError::CutOff { bytes: rest }) };
            }
            self.buffer.extend_from_slice(bytes);
            self.receives += 1;
        }
    }

    /// How many receives it took so far.
    pub fn receives(&self) -> u64 {
        self.receives
    }

    /// The reader again. What was received and not taken is lost.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// Takes a message out of what is there.
    fn take(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let found = self.codec.decode(&self.buffer[self.start..])?;
        Ok(found.map(|found| {
            let message = self.start + found.message.start..self.start + found.message.end;
            self.start += found.len;
            message
        }))
    }

    /// Forgets what was taken.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() <= KEPT {
            self.buffer.shrink_to(KEPT);
        }
    }
}

/// Sends messages through a writer.
#[derive(Debug)]
pub struct FrameWriter<W, C> {
    writer: W,
    codec: C,
}

impl<W: Writer, C: Codec> FrameWriter<W, C> {
    /// Writes to `writer` through `codec`.
    pub fn new(writer: W, codec: C) -> Self {
        FrameWriter { writer, codec }
    }

    /// Sends a message, with one write for all its bytes.
    ///
    /// # Errors
    /// Those of the codec, before anything is sent; those of the stream.
    ///
    /// # Cancel safety
    /// That of [`Writer::write_all`]: dropping it while it waits breaks the writing side.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        self.codec.encode(message, &mut bytes)?;
        self.writer.write_all(bytes).await.0?;
        Ok(())
    }

    /// The same, to a peer that takes some bytes again and again: see [`write_unless_stuck`].
    ///
    /// # Errors
    /// As [`send`](FrameWriter::send), and `TimedOut` if the peer takes nothing for `time`.
    ///
    /// # Cancel safety
    /// As [`send`](FrameWriter::send).
    pub async fn send_unless_stuck<R: Runtime>(
        &mut self,
        rt: &R,
        message: &[u8],
        time: Duration,
    ) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        self.codec.encode(message, &mut bytes)?;
        write_unless_stuck(rt, &mut self.writer, bytes, time).await?;
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Those of [`Writer::shutdown`].
    ///
    /// # Cancel safety
    /// That of [`Writer::shutdown`].
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use executor::{BufResult, IoBufMut, Stream};
    use fastrand::Rng;
    use sim::{Sim, Weather};

    use super::*;
    use crate::framing::{Method, Prefix, Width};

    /// Brings these pieces, then the end.
    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Reader for Pieces {
        type Chunk = Vec<u8>;

        async fn recv(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.0.next().unwrap_or_default())
        }

        async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
            (Ok(0), buf)
        }
    }

    fn frames<C: Codec>(codec: C, pieces: &[&[u8]]) -> Frames<Pieces, C> {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        Frames::new(Pieces(pieces.into_iter()), codec)
    }

    fn next<C: Codec>(frames: &mut Frames<Pieces, C>) -> Result<Option<Vec<u8>>, FrameError> {
        Ok(futures_lite::future::block_on(frames.next())?.map(<[u8]>::to_vec))
    }

    const LIMIT: NonZeroUsize = NonZeroUsize::new(12).unwrap();

    #[test]
    fn no_cut_moves_the_end_of_a_message() {
        let messages: [&[u8]; 5] = [b"one", b"", b"exactly_here", b"four", b""];
        for method in [Method::Delimiter, Method::Fixed, Method::Prefix] {
            let (codec, mut wire) = (method.codec(LIMIT), Vec::new());
            messages.iter().for_each(|message| codec.encode(message, &mut wire).unwrap());
            for first in 1..wire.len() {
                for second in first..wire.len() {
                    // Whoever sends nothing is not heard: an empty piece would be the end.
                    let pieces = [&wire[..first], &wire[first..second], &wire[second..]];
                    let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
                    let mut frames = frames(method.codec(LIMIT), &pieces);
                    for message in messages {
                        assert_eq!(next(&mut frames).unwrap().unwrap(), message, "{method:?} {first} {second}");
                    }
                    assert!(next(&mut frames).unwrap().is_none());
                    assert_eq!(frames.receives(), pieces.len() as u64);
                }
            }
        }
    }

    #[test]
    fn an_end_within_a_message_is_told_from_one_behind_it() {
        for (method, wire) in [(Method::Delimiter, &b"a\nbc"[..]), (Method::Prefix, b"\0\0\0\x01a\0\0")] {
            let mut frames = frames(method.codec(LIMIT), &[wire]);
            assert_eq!(next(&mut frames).unwrap().unwrap(), b"a");
            for _ in 0..2 {
                assert!(matches!(next(&mut frames), Err(FrameError::CutOff { bytes: 2 })), "{method:?}");
            }
        }
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        // Within the limit it is believed, and waited for; but it is the bytes that take memory.
        let mut lying =
            frames(Prefix::new(Width::Eight, usize::MAX >> 1), &[&[0, 0, 0, 255, 0, 0, 0, 0], b"few bytes"]);
        assert!(matches!(next(&mut lying), Err(FrameError::CutOff { bytes: 17 })));
        assert!(lying.buffer.capacity() <= KEPT, "{}", lying.buffer.capacity());
        let mut refused = frames(Prefix::new(Width::Four, 100), &[&[255; 4], b"more"]);
        for _ in 0..2 {
            assert!(matches!(next(&mut refused), Err(FrameError::TooLong { len: Some(0xFFFF_FFFF), limit: 100 })));
        }
        assert_eq!((refused.receives(), refused.buffer.len()), (1, 4), "it read on");
    }

    #[test]
    fn what_a_long_message_took_goes_back() {
        let long = vec![b'x'; 1 << 20];
        let mut frames = frames(Method::Delimiter.codec(NonZeroUsize::MAX), &[&long, b"\n", b"short\n", b"last\n"]);
        assert_eq!(next(&mut frames).unwrap().unwrap().len(), 1 << 20);
        assert_eq!(next(&mut frames).unwrap().unwrap(), b"short");
        assert!(frames.buffer.capacity() <= KEPT, "{}", frames.buffer.capacity());
    }

    #[test]
    fn a_message_may_come_slowly_and_a_silent_peer_is_given_up() {
        const SILENCE: Duration = Duration::from_secs(60);
        let sim = Sim::calm(1);
        sim.block_on(async {
            let (mut sender, receiver) = sim.pair().await.unwrap();
            let rt = sim.clone();
            let sending = sim.spawn(async move {
                for byte in b"slow\n" {
                    rt.sleep(SILENCE - Duration::from_millis(1)).await;
                    sender.write_all(vec![*byte]).await.0.unwrap();
                }
                sender
            });
            let mut frames = Frames::new(receiver, Method::Delimiter.codec(NonZeroUsize::MAX));
            assert_eq!(frames.next_unless_silent(&sim, SILENCE).await.unwrap().unwrap(), b"slow");
            let _sender = sending.await.unwrap();
            let start = sim.now();
            let silent = frames.next_unless_silent(&sim, SILENCE).await;
            assert!(matches!(silent, Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::TimedOut));
            assert_eq!(sim.now() - start, SILENCE);
        });
    }

    /// Sends through one stream of the world what is read from the other, with reads that are given up.
    async fn dialogue(sim: &Sim, mut random: Rng) {
        let method = random.choice([Method::Delimiter, Method::Fixed, Method::Prefix]).unwrap();
        let limit = NonZeroUsize::new(random.usize(1..5000)).unwrap();
        let messages: Vec<Vec<u8>> = (0..random.usize(0..30))
            .map(|_| {
                let len = random.usize(0..=limit.get());
                // Neither zeros nor line feeds.
                std::iter::repeat_with(|| random.u8(32..)).take(len).collect()
            })
            .collect();
        let mut wire = Vec::new();
        messages.iter().for_each(|message| method.codec(limit).encode(message, &mut wire).unwrap());
        let (sender, receiver) = sim.pair().await.unwrap();
        let (_, mut writer) = sender.split();
        let (handle, mut pieces) = (sim.clone(), random.fork());
        let sending = sim.spawn(async move {
            while !wire.is_empty() {
                let rest = wire.split_off(pieces.usize(1..=wire.len()).min(pieces.usize(1..4000)).min(wire.len()));
                writer.write_all(std::mem::replace(&mut wire, rest)).await.0.unwrap();
                handle.sleep(Duration::from_micros(pieces.u64(0..300))).await;
            }
            writer.shutdown().await.unwrap();
        });
        let mut frames = Frames::new(receiver, method.codec(limit));
        let mut received = Vec::new();
        loop {
            let patience = Duration::from_micros(random.u64(0..400));
            match sim.timeout(patience, frames.next()).await {
                Err(_given_up) => {}
                Ok(Ok(Some(message))) => received.push(message.to_vec()),
                Ok(end) => break assert!(end.unwrap().is_none()),
            }
        }
        sending.await.unwrap();
        assert!(received == messages, "{method:?} of {limit}: {} of {} came", received.len(), messages.len());
    }

    #[test]
    fn messages_survive_any_weather_and_reads_that_are_given_up() {
        sim::for_each_seed(300, |seed| {
            let sim = sim::Builder::new(seed).weather(Weather::stormy()).build();
            sim.block_on(dialogue(&sim, Rng::with_seed(seed)));
            sim.finish();
        });
    }
}

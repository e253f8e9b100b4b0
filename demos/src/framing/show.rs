//! The demonstration: the same messages through each codec, over a connection of the runtime's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use executor::{ListenOptions, Listener, Runtime, Stream};

use super::{FrameError, FrameWriter, Frames, Method};

/// How long the receiver waits for the first messages to be sent.
const LATE: Duration = Duration::from_millis(200);

/// What is sent.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Messages that are all sent, a send each, before anything is received.
    pub early: Vec<Vec<u8>>,
    /// Messages that are sent, a send each, while the other side receives.
    pub then: Vec<Vec<u8>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the receiver took for messages.
    pub messages: Vec<Vec<u8>>,
    /// How many receives that took.
    pub receives: u64,
    /// Bytes that went over the connection.
    pub wire: usize,
    /// Why it went no further, if so.
    pub error: Option<FrameError>,
}

/// Sends the traffic over a connection with the one method, and reads it with the other. Messages have `len` bytes at
/// most, or exactly so many if that is fixed.
///
/// # Errors
/// Those of making the connection, and of sending.
pub async fn transfer<R: Runtime>(
    rt: &R,
    sends: Method,
    reads: Method,
    len: NonZeroUsize,
    traffic: Traffic,
) -> Result<Seen, FrameError> {
    let mut listener = rt.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &ListenOptions::default())?;
    let (_, writer) = rt.connect(listener.local_addr()?).await?.split();
    let receiver = listener.accept().await?;
    let mut seen = Seen::default();
    for message in traffic.early.iter().chain(&traffic.then) {
        let mut bytes = Vec::new();
        sends.codec(len).encode(message, &mut bytes)?;
        seen.wire += bytes.len();
    }
    let mut writer = FrameWriter::new(writer, sends.codec(len));
    let (early_sent, early) = async_channel::bounded::<()>(1);
    let sending = rt.spawn(async move {
        for message in &traffic.early {
            writer.send(message).await?;
        }
        // Nothing is said over this channel: that it closes is the message.
        drop(early_sent);
        for message in &traffic.then {
            writer.send(message).await?;
        }
        writer.shutdown().await.map_err(FrameError::Io)
    });
    // If the first messages are too many for the buffers of the connection, they wait for the receiver.
    let _ = rt.timeout(LATE, early.recv()).await;
    let mut frames = Frames::new(receiver, reads.codec(len));
    loop {
        match frames.next().await {
            Ok(Some(message)) => seen.messages.push(message.to_vec()),
            Ok(None) => break,
            Err(error) => {
                seen.error = Some(error);
                break;
            }
        }
    }
    seen.receives = frames.receives();
    if seen.error.is_some() {
        // The sender may wait for somebody who reads on.
        sending.abort();
        return Ok(seen);
    }
    match sending.await {
        Ok(sent) => sent.map(|()| seen),
        Err(error) => Err(FrameError::Io(std::io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use sim::Weather;

    use super::*;

    const LEN: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

    fn traffic() -> Traffic {
        Traffic {
            early: ["one", "two", "three"].map(|word| word.as_bytes().to_vec()).into(),
            then: vec![vec![b'x'; 20_000]],
        }
    }

    #[test]
    fn without_a_codec_sends_stick_together_and_come_apart() {
        let sim = sim::Builder::new(0).weather(Weather { chunk: 4096, ..Weather::calm() }).build();
        let seen = sim.block_on(transfer(&sim, Method::None, Method::None, LEN, traffic())).unwrap();
        assert!(seen.messages[0].starts_with(b"onetwothreex"));
        assert_eq!(seen.messages.iter().map(Vec::len).collect::<Vec<_>>(), [4096, 4096, 4096, 4096, 3627]);
        assert_eq!(seen.receives, 5);
        sim.finish();
    }

    #[test]
    fn with_a_codec_each_send_is_a_message_in_any_weather() {
        sim::for_each_seed(50, |seed| {
            let sim = sim::Builder::new(seed).weather(Weather::stormy()).build();
            for method in [Method::Delimiter, Method::Fixed, Method::Prefix] {
                let seen = sim.block_on(transfer(&sim, method, method, LEN, traffic())).unwrap();
                let expected: Vec<_> = traffic().early.into_iter().chain(traffic().then).collect();
                assert!(seen.error.is_none() && seen.messages == expected, "{method:?}: {seen:?}");
            }
            sim.finish();
        });
    }
}

//! Scripted clients in simulated time: a timeout of ten seconds takes no time and ends exactly then.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use sim::{Probe, ReadHalf, Reader, Sim, Stream, TcpStream, Weather, WriteHalf, Writer};

use crate::http::connection::connection;
use crate::http::site::Site;

/// What a client does, and when, counted from the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Sent bytes; none at all stand for the end of the client's output.
    pub sends: Vec<(Duration, Vec<u8>)>,
    /// How many bytes of the responses it takes before it stops reading.
    pub reads: Option<usize>,
    /// How many bytes it takes at once, and how long each time.
    pub pace: Option<(usize, Duration)>,
    /// When the runtime is asked to stop.
    pub stop: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub output: Vec<u8>,
    /// When the server was done with the connection.
    pub ended: Duration,
    /// When it ended its output, if it did so before it was done.
    pub shut_down: Option<Duration>,
    /// How often it wrote.
    pub writes: u64,
    /// How often its task was polled.
    pub polls: u64,
    /// How many of the script's bytes it never received.
    pub unread: usize,
}

impl Script {
    /// Everything in these pieces, a millisecond apart, and then the end.
    pub(crate) fn in_pieces<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Script {
        let mut script = Script::default();
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            script = script.send(1, piece);
        }
        script.send(1, b"")
    }

    /// Sends this so many milliseconds after what was sent before.
    pub(crate) fn send(mut self, after_ms: u64, bytes: &[u8]) -> Script {
        let last = self.sends.last().map_or(Duration::ZERO, |(at, _)| *at);
        self.sends.push((last + Duration::from_millis(after_ms), bytes.to_vec()));
        self
    }

    /// Plays the client against [`connection`].
    pub(crate) fn play(&self, site: Rc<Site>) -> Transcript {
        // A chunk is as small as a kernel buffer may be, and the client's bytes find room however many they are.
        let weather = Weather { chunk: 4096, buffer: usize::MAX..=usize::MAX, ..Weather::calm() };
        let sim = sim::Builder::new(0).weather(weather).build();
        let (client, server) = sim.block_on(sim.pair()).expect("a connection");
        let taken = self.pace.map(|(most, _)| most).or(self.reads);
        sim.set_buffer(&client, taken.unwrap_or(usize::MAX));
        let probe = sim.probe(&server);
        let (reader, writer) = client.split();
        drop(sim.spawn(send(sim.clone(), writer, self.sends.clone())));
        let receiving = receive(sim.clone(), reader, self.pace);
        if let Some(at) = self.stop {
            let sim = sim.clone();
            drop(sim.clone().spawn(async move {
                sim.sleep(at).await;
                sim.stop();
            }));
        }
        let serving = sim.spawn(served(sim.clone(), server, site, probe.clone()));
        let (output, (polls, ended)) = sim.block_on(async {
            if self.reads.is_some() {
                // Who stops reading takes what finds room, and looks at it in the end.
                let served = serving.await.expect("a server");
                return (receiving.await, served);
            }
            (receiving.await, serving.await.expect("a server"))
        });
        assert_eq!((probe.chunks_lent(), probe.refused_writes()), (0, 0), "a chunk is left, or it wrote after the end");
        let sent: usize = self.sends.iter().map(|(_, bytes)| bytes.len()).sum();
        Transcript {
            output,
            ended,
            shut_down: probe.shut_down_at(),
            writes: probe.writes(),
            polls,
            unread: sent - usize::try_from(probe.received()).expect("what is in memory"),
        }
    }
}

/// Serves to the end; returns how often that was polled, and when it ended.
async fn served(sim: Sim, server: TcpStream, site: Rc<Site>, probe: Probe) -> (u64, Duration) {
    let (mut serving, mut polls) = (pin!(connection(sim.clone(), server, site)), 0);
    poll_fn(|cx| {
        polls += 1;
        let polled = serving.as_mut().poll(cx);
        assert!(!probe.is_waiting() || probe.chunks_lent() == 0, "a chunk is kept while its connection waits");
        polled
    })
    .await;
    (polls, sim.elapsed())
}

/// Sends each piece when its time has come, then keeps the connection open.
async fn send(sim: Sim, mut writer: WriteHalf, sends: Vec<(Duration, Vec<u8>)>) {
    let start = sim.now() - sim.elapsed();
    for (at, bytes) in sends {
        sim.sleep_until(start + at).await;
        // The server may be done.
        let _ = if bytes.is_empty() { writer.shutdown().await } else { writer.write_all(bytes).await.0 };
    }
    std::future::pending().await
}

/// Takes what comes to the end, at this pace.
async fn receive(sim: Sim, mut reader: ReadHalf, pace: Option<(usize, Duration)>) -> Vec<u8> {
    let (most, time) = pace.unwrap_or((4096, Duration::ZERO));
    let mut output = Vec::new();
    loop {
        sim.sleep(time).await;
        match reader.read(vec![0; most]).await {
            (Ok(count @ 1..), bytes) => output.extend_from_slice(&bytes[..count]),
            _ => return output,
        }
    }
}

//! Connections that come and go, in every way there is, for as long as one likes.

use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use executor::{IoBuf, Listener, Reader, Runtime, Stream as _, Writer};
use fastrand::Rng;

use super::{Scenario, scenario};
use crate::engine::{Engine, Stream};
use crate::flat::Flat;
use crate::net::{Pattern, any_size, listen};
use crate::rounds::Rounds;
use crate::{both, poll_once};

/// Clients at a time.
const CLIENTS: usize = 32;
/// Bytes of a message at most; those of both ends and both directions fit the kernel's buffers.
const MESSAGE: usize = 32 * 1024;
/// Bytes of a transfer that goes both ways at once.
const TRANSFER: usize = 256 * 1024;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "K1",
        "random connects, echoes, cancels, timeouts, resets, half closes: every byte right, descriptors and memory flat",
        25,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        churn
    );
}

fn churn<E: Engine>(rounds: &mut Rounds)
where
    Stream<E>: AsFd,
{
    crate::run::<E>(async |rt| {
        let mut random = Rng::with_seed(rounds.seed());
        let (listener, addr) = listen(rt);
        let server = rt.spawn(serve(rt.clone(), listener, random.fork()));
        let pattern = Rc::new(Pattern::new(rounds.seed()));
        let mut flat = Flat::new(rt).await;
        let mut bytes = 0;
        for round in &mut *rounds {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let mut client = Client::<E>::new(rt.clone(), Rc::clone(&pattern), random.fork());
                    rt.spawn(async move {
                        let Some(stream) = client.connect(addr).await else { return 0 };
                        // The most that can be going on at once comes first: memory does not rise above that.
                        if round == 0 {
                            client.both_ways(stream, TRANSFER).await
                        } else {
                            client.talk(stream).await
                        }
                        client.bytes
                    })
                })
                .collect();
            for client in clients {
                bytes += client.await.expect("a client");
            }
            flat.check(rt).await;
        }
        server.abort();
        rounds.figure("connections", rounds.done() * CLIENTS as u64);
        rounds.figure("MiB echoed and checked", bytes >> 20);
        flat.report(rounds);
    });
}

/// An echo server that runs out of patience all the time, and starts over.
async fn serve<R: Runtime>(rt: R, mut listener: R::Listener, mut random: Rng) {
    loop {
        let stream = listener.accept().await.expect("accept");
        rt.spawn(echo(rt.clone(), stream, random.fork())).detach();
    }
}

async fn echo<R: Runtime>(rt: R, mut stream: R::Stream, mut random: Rng) {
    loop {
        let patience = Duration::from_micros(random.u64(0..2000));
        let chunk = match rt.timeout(patience, stream.recv()).await {
            Err(_) => continue,
            Ok(Err(_)) => return,
            Ok(Ok(chunk)) => chunk,
        };
        if chunk.bytes().is_empty() {
            return;
        }
        let written = if random.bool() {
            stream.write_all(chunk).await.0
        } else {
            // What it received is the next to be echoed.
            match stream.exchange(chunk).await {
                Ok(next) if next.bytes().is_empty() => return,
                Ok(next) => stream.write_all(next).await.0,
                Err(error) => Err(error),
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// Talks at random, and knows what has to come back.
struct Client<E: Engine> {
    rt: E::Rt,
    pattern: Rc<Pattern>,
    random: Rng,
    /// Bytes that came back, and were right.
    bytes: u64,
}

impl<E: Engine> Client<E>
where
    Stream<E>: AsFd,
{
    fn new(rt: E::Rt, pattern: Rc<Pattern>, random: Rng) -> Self {
        Client { rt, pattern, random, bytes: 0 }
    }

    /// A connection; now and then none, because it was given up.
    async fn connect(&mut self, addr: std::net::SocketAddr) -> Option<Stream<E>> {
        let mut connecting = pin!(self.rt.connect(addr));
        if self.random.u8(0..16) == 0 {
            let _ = poll_once(&mut connecting).await;
            return None;
        }
        Some(connecting.await.expect("connect"))
    }

    /// Some messages, and an end.
    async fn talk(&mut self, mut stream: Stream<E>) {
        for _ in 0..self.random.usize(0..6) {
            match self.random.u8(0..5) {
                0 => self.rt.sleep(Duration::from_micros(self.random.u64(0..500))).await,
                1 => self.ask_and_hear_at_once(&mut stream).await,
                2 => self.ask_impatiently(&mut stream).await,
                3 => {
                    assert!(poll_once(&mut pin!(stream.recv())).await.is_none(), "nothing was asked");
                    self.ask(&mut stream).await;
                }
                _ => self.ask(&mut stream).await,
            }
        }
        match self.random.u8(0..6) {
            // Nothing pending: an orderly end by the one who asks.
            0 => {
                stream.shutdown().await.expect("shutdown");
                assert!(stream.recv().await.expect("the end").bytes().is_empty());
            }
            1 => drop(stream),
            // With the answer unread, or on its way.
            2 => {
                let (_, message) = self.message(MESSAGE);
                stream.write_all(message).await.0.expect("write");
            }
            3 => {
                let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                linger.expect("SO_LINGER");
            }
            // A write that is given up midway.
            4 => {
                let (_, message) = self.message(TRANSFER);
                let _ = poll_once(&mut pin!(stream.write_all(message))).await;
            }
            _ => {
                let size = self.random.usize(1..TRANSFER);
                self.both_ways(stream, size).await;
            }
        }
    }

    /// A question, and where in the pattern it begins.
    fn message(&mut self, most: usize) -> (usize, Vec<u8>) {
        let (start, size) = (self.random.usize(0..1 << 20), any_size(&mut self.random, most));
        (start, self.pattern.bytes(start, size))
    }

    async fn ask(&mut self, stream: &mut Stream<E>) {
        let (start, message) = self.message(MESSAGE);
        let room = vec![0; message.len()];
        stream.write_all(message).await.0.expect("write");
        let (read, answer) = stream.read_exact(room).await;
        read.expect("read");
        self.count(start, &answer);
    }

    async fn ask_and_hear_at_once(&mut self, stream: &mut Stream<E>) {
        let (start, message) = self.message(MESSAGE);
        let size = message.len();
        let mut heard = 0;
        let mut next = stream.exchange(message).await;
        loop {
            let chunk = next.expect("exchange, recv");
            assert!(!chunk.bytes().is_empty(), "the answer ends early");
            self.count(start + heard, chunk.bytes());
            heard += chunk.bytes().len();
            if heard == size {
                return;
            }
            next = stream.recv().await;
        }
    }

    /// Gives up receiving again and again; what arrives at that very moment is not lost.
    async fn ask_impatiently(&mut self, stream: &mut Stream<E>) {
        let (start, message) = self.message(MESSAGE);
        let size = message.len();
        stream.write_all(message).await.0.expect("write");
        let mut heard = 0;
        while heard < size {
            let patience = Duration::from_micros(self.random.u64(0..300));
            let Ok(received) = self.rt.timeout(patience, stream.recv()).await else { continue };
            let chunk = received.expect("recv");
            assert!(!chunk.bytes().is_empty(), "the answer ends early");
            self.count(start + heard, chunk.bytes());
            heard += chunk.bytes().len();
        }
    }

    /// Writes and reads at the same time, ends its side, and reads to the end.
    async fn both_ways(&mut self, stream: Stream<E>, size: usize) {
        let start = self.random.usize(0..1 << 20);
        let (mut reader, mut writer) = stream.split();
        let message = self.pattern.bytes(start, size);
        let speak = async move { writer.write_all(message).await.0.expect("write") };
        let hear = async {
            let mut heard = 0;
            loop {
                let chunk = reader.recv().await.expect("recv");
                if chunk.bytes().is_empty() {
                    return heard;
                }
                self.count(start + heard, chunk.bytes());
                heard += chunk.bytes().len();
            }
        };
        assert_eq!(both(speak, hear).await.1, size, "bytes that came back before the end");
    }

    fn count(&mut self, start: usize, bytes: &[u8]) {
        self.pattern.check(start, bytes);
        self.bytes += bytes.len() as u64;
    }
}

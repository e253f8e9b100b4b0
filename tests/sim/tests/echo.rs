//! Goal: the echo demo, as it is, gives every byte back, in any weather, whatever its clients do.
//!
//! Method: a server and a few clients in one simulated world. Each client sends a pattern in pieces of random
//! sizes, and reads beside it, with pauses, receives that are given up and a half close; or leaves in the middle.
//! What it reads is its pattern up to that point, and all of it if it stayed to the end; a connection that the
//! network resets takes nothing but itself.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use demos::echo;
use demos::serve::{Limits, serve};
use fastrand::Rng;
use sim::{IoBuf, ListenOptions, Listener, ReadHalf, Reader, Runtime, Sim, Stream, Weather, Writer};

/// Runs a server and its clients to the end; returns how many bytes came back, and how many clients were reset.
fn world(seed: u64, weather: Weather) -> (u64, u64, Sim) {
    let is_safe = weather.resets == 0.0;
    let sim = sim::Builder::new(seed).weather(weather).build();
    let (returned, broken) = sim.block_on(async {
        let mut random = Rng::with_seed(seed);
        let listener = sim.listen("127.0.0.1:7".parse().unwrap(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections: random.usize(1..5), per_address: None, grace: Duration::from_secs(60) };
        let server = sim.spawn({
            let sim = sim.clone();
            async move {
                let handle = sim.clone();
                let connection = move |stream| {
                    let rt = handle.clone();
                    async move { drop(echo::connection(rt, stream).await) }
                };
                serve(&sim, listener, &limits, connection).await.unwrap()
            }
        });
        let clients: Vec<_> =
            (0..random.u64(1..6)).map(|name| sim.spawn(client(sim.clone(), address, random.fork(), name))).collect();
        let (mut returned, mut broken, count) = (0, 0, clients.len() as u64);
        for client in clients {
            let (received, end) = client.await.unwrap();
            returned += received;
            broken += u64::from(end.is_err());
            assert!(!is_safe || end.is_ok(), "{end:?}");
        }
        sim.stop();
        let served = server.await.unwrap();
        // Who is reset before it is accepted may be gone when the server stops.
        assert!(served.cut == 0 && (served.connections == count || !is_safe), "{served:?}");
        (returned, broken)
    });
    (returned, broken, sim)
}

/// One client's whole life; returns how many bytes it got back, and whether its connection broke.
async fn client(sim: Sim, address: SocketAddr, mut random: Rng, name: u64) -> (u64, io::Result<()>) {
    sim.sleep(Duration::from_micros(random.u64(0..2000))).await;
    let stream = match sim.connect(address).await {
        Ok(stream) => stream,
        Err(error) => return (0, Err(error)),
    };
    let len = random.usize(0..20_000);
    let pattern: Rc<[u8]> = (0..len).map(|place| (place % 251) as u8 ^ (place / 251) as u8 ^ name as u8).collect();
    let leaves_after = if random.u8(..) < 64 { random.usize(0..=len) } else { usize::MAX };
    let (mut reader, mut writer) = stream.split();
    let writing = sim.spawn({
        let (sim, pattern, mut random) = (sim.clone(), Rc::clone(&pattern), random.fork());
        async move {
            let mut sent = 0;
            while sent < pattern.len() {
                let count = random.usize(1..=(pattern.len() - sent).min(5000));
                let piece = pattern[sent..sent + count].to_vec();
                if random.bool() {
                    writer.write_all(piece).await.0?;
                    sent += count;
                } else {
                    sent += writer.write(piece).await.0?;
                }
                if random.u8(..) < 64 {
                    sim.sleep(Duration::from_micros(random.u64(0..3000))).await;
                }
            }
            writer.shutdown().await
        }
    });
    let mut received = Vec::new();
    let end = receive(&sim, &mut reader, &mut random, &mut received, leaves_after).await;
    assert!(pattern.starts_with(&received), "client {name}: {} of {len} bytes, and not the same", received.len());
    let count = received.len() as u64;
    if leaves_after < usize::MAX || end.is_err() {
        writing.abort();
        let _ = writing.await;
        return (count, end);
    }
    // A reset is told once: if to the writer, the reader sees an end.
    let written = writing.await.unwrap();
    assert!(received.len() == len || written.is_err(), "client {name} got {count} of {len} bytes");
    (count, written)
}

/// Receives to the end, or until so many bytes are there.
async fn receive(
    sim: &Sim,
    reader: &mut ReadHalf,
    random: &mut Rng,
    received: &mut Vec<u8>,
    most: usize,
) -> io::Result<()> {
    while received.len() < most {
        if random.u8(..) < 64 {
            // Given up after a moment, perhaps with something on its way.
            let patience = Duration::from_micros(random.u64(0..500));
            if let Ok(chunk) = sim.timeout(patience, reader.recv()).await {
                received.extend_from_slice(chunk?.bytes());
            }
            continue;
        }
        let chunk = reader.recv().await?;
        if chunk.bytes().is_empty() {
            break;
        }
        received.extend_from_slice(chunk.bytes());
    }
    Ok(())
}

#[test]
fn every_byte_comes_back() {
    sim::for_each_seed(300, |seed| world(seed, Weather::stormy()).2.finish());
}

#[test]
fn a_reset_takes_one_connection_and_nothing_else() {
    let resets = Cell::new(0);
    sim::for_each_seed(200, |seed| {
        let (_, broken, sim) = world(seed, Weather { resets: 0.01, ..Weather::stormy() });
        resets.set(resets.get() + broken);
        sim.finish();
    });
    assert!(resets.get() > 0 || sim::seed_to_replay().is_some(), "no connection was reset");
}

#[test]
fn tiny_buffers_are_enough() {
    sim::for_each_seed(3, |seed| {
        let weather =
            Weather { buffer: 1..=40, chunk: 10, latency: Duration::ZERO..=Duration::ZERO, ..Weather::stormy() };
        world(seed, weather).2.finish();
    });
}

#[test]
fn calm_weather_is_enough_for_calm_clients() {
    sim::for_each_seed(50, |seed| {
        let (returned, _, sim) = world(seed, Weather::calm());
        assert_eq!(sim.stats().driver.orphans, Some(0), "nothing is submitted, so nothing is orphaned");
        assert!(returned < 5 * 20_000);
        sim.finish();
    });
}

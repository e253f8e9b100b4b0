//! Goal: the echo demo, as it is, gives every byte back, in any weather, whatever its clients do.
//!
//! Method: a server and a few clients in one simulated world. Each client sends a pattern in pieces of random
//! sizes, and reads beside it, with pauses, receives that are given up and a half close; or leaves in the middle.
//! What it reads is its pattern up to that point, and all of it if it stayed to the end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use demos::echo;
use demos::serve::{Limits, serve};
use fastrand::Rng;
use sim::{IoBuf, ListenOptions, Listener, Reader, Runtime, Sim, Stream, Weather, Writer};

/// Runs a server and its clients to the end; returns how many bytes came back.
fn world(seed: u64, weather: Weather) -> (u64, Sim) {
    let sim = sim::Builder::new(seed).weather(weather).build();
    let returned = sim.block_on(async {
        let mut random = Rng::with_seed(seed);
        let listener = sim.listen("127.0.0.1:7".parse().unwrap(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections: random.usize(1..5), grace: Duration::from_secs(60) };
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
        let (mut returned, count) = (0, clients.len() as u64);
        for client in clients {
            returned += client.await.unwrap();
        }
        sim.stop();
        let served = server.await.unwrap();
        assert_eq!((served.connections, served.cut), (count, 0));
        returned
    });
    (returned, sim)
}

/// One client's whole life; returns how many bytes it got back.
async fn client(sim: Sim, address: SocketAddr, mut random: Rng, name: u64) -> u64 {
    sim.sleep(Duration::from_micros(random.u64(0..2000))).await;
    let stream = sim.connect(address).await.unwrap();
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
    while received.len() < leaves_after {
        if random.u8(..) < 64 {
            // Given up after a moment, perhaps with something on its way.
            let patience = Duration::from_micros(random.u64(0..500));
            if let Ok(chunk) = sim.timeout(patience, reader.recv()).await {
                received.extend_from_slice(chunk.unwrap().bytes());
            }
            continue;
        }
        let chunk = reader.recv().await.unwrap();
        if chunk.bytes().is_empty() {
            break;
        }
        received.extend_from_slice(chunk.bytes());
    }
    assert!(pattern.starts_with(&received), "client {name}: {} of {len} bytes, and not the same", received.len());
    if leaves_after == usize::MAX {
        assert_eq!(received.len(), len, "client {name} got too little");
        writing.await.unwrap().unwrap();
    } else {
        writing.abort();
        let _ = writing.await;
    }
    received.len() as u64
}

#[test]
fn every_byte_comes_back() {
    sim::for_each_seed(300, |seed| world(seed, Weather::stormy()).1.finish());
}

#[test]
fn tiny_buffers_are_enough() {
    sim::for_each_seed(3, |seed| {
        let weather =
            Weather { buffer: 1..=40, chunk: 10, latency: Duration::ZERO..=Duration::ZERO, ..Weather::stormy() };
        world(seed, weather).1.finish();
    });
}

#[test]
fn calm_weather_is_enough_for_calm_clients() {
    sim::for_each_seed(50, |seed| {
        let (returned, sim) = world(seed, Weather::calm());
        assert_eq!(sim.stats().driver.orphans, Some(0), "nothing is submitted, so nothing is orphaned");
        assert!(returned < 5 * 20_000);
        sim.finish();
    });
}

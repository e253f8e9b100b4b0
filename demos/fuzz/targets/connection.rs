//! A whole connection, from the accept to its end, in simulated time: what the bytes of a client are answered.
//!
//! The first eight bytes of the input are the seed of the weather, the rest is what the client says before it
//! ends its side. Each input is played calm, with all bytes at once, and stormy, with short reads and writes,
//! early wakes and late cancels. What must hold:
//!
//! - No panic; the connection ends; nothing of it is left.
//! - The storm changes no answer. (It may change whether a body is asked for by "100 Continue" that is on its
//!   way already.)
//! - The same storm is the same run, to the last step: what is found can be played again.

#![no_main]

use std::rc::Rc;

use demos::http::{Limits, Site, connection};
use libfuzzer_sys::fuzz_target;
use sim::{Builder, Reader, Sim, Stream, Weather, Writer};

fuzz_target!(|input: &[u8]| {
    let Some((seed, said)) = input.split_first_chunk() else { return };
    let seed = u64::from_le_bytes(*seed);
    let roomy = Weather { buffer: usize::MAX..=usize::MAX, ..Weather::calm() };
    let (calm, _) = play(Builder::new(seed).weather(roomy).build(), said);
    let (stormy, trace) = play(Sim::stormy(seed), said);
    let (again, same_trace) = play(Sim::stormy(seed), said);
    assert_eq!(trace, same_trace, "the same seed is another run");
    assert_eq!(comparable(&stormy), comparable(&again));
    // The counters are those of a run.
    let shows_counters = said.windows(6).any(|word| word == b"/stats");
    assert!(shows_counters || comparable(&calm) == comparable(&stormy), "the storm changed an answer");
});

/// Small ones, so that they are crossed.
fn limits() -> Limits {
    Limits {
        request_line: 128,
        header_block: 256,
        headers: 8,
        body: 300,
        chunk_extensions: 16,
        trailers: 24,
        requests: 20,
        pending_output: 700,
        ..Limits::default()
    }
}

/// Everything that a client gets who says this; and the hash of all that happened.
fn play(sim: Sim, said: &[u8]) -> (Vec<u8>, u64) {
    // The page shows a random number.
    fastrand::seed(1);
    let site = Rc::new(Site::new(limits(), None).expect("a site without files"));
    let said = said.to_vec();
    let heard = sim.block_on(async {
        let (client, server) = sim.pair().await.expect("a connection");
        let serving = sim.spawn(connection(sim.clone(), server, site));
        let (mut reader, mut writer) = client.split();
        let speaking = sim.spawn(async move {
            // The server may have heard enough.
            let _ = writer.write_all(said).await.0;
            let _ = writer.shutdown().await;
        });
        let mut heard = Vec::new();
        while let (Ok(count @ 1..), bytes) = reader.read(vec![0; 4096]).await {
            heard.extend_from_slice(&bytes[..count]);
        }
        serving.await.expect("a connection that does not panic");
        speaking.await.expect("a client that does not panic");
        heard
    });
    let trace = sim.trace();
    sim.finish();
    (heard, trace)
}

/// Without the date, and without invitations to send a body.
fn comparable(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let lines = text.split("\r\n").filter(|line| !line.starts_with("Date: "));
    lines.collect::<Vec<_>>().join("\r\n")
}

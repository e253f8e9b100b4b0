//! How a stream ends, seen by its reader.

use std::io::Write;
use std::net::TcpStream;

use executor::Listener;

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::net::{listen, recv_to_end};
use crate::rounds::Rounds;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "P18",
        "data and the end arrive together, before or while the reader waits: both are seen, every time",
        500,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorOneshot],
        data_with_the_end
    );
}

fn data_with_the_end<E: Engine>(rounds: &mut Rounds) {
    crate::run::<E>(async |rt| {
        let mut random = fastrand::Rng::with_seed(rounds.seed());
        let (mut listener, addr) = listen(rt);
        for _ in rounds {
            let mut peer = TcpStream::connect(addr).expect("connect");
            let data = vec![random.u8(..); random.usize(0..3000)];
            let mut stream = listener.accept().await.expect("accept");
            let waits = random.bool();
            let said = data.clone();
            let say = move || {
                peer.write_all(&said).expect("write");
                drop(peer);
            };
            if waits {
                let speaker = std::thread::spawn(say);
                assert!(recv_to_end(&mut stream).await == data);
                speaker.join().expect("the peer does not panic");
            } else {
                say();
                assert!(recv_to_end(&mut stream).await == data);
            }
        }
    });
}

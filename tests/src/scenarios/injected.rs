//! Everyday traffic while system calls fail by chance.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use executor::{IoBuf, Reader, Report, Runtime, Writer};

use super::{Scenario, scenario};
use crate::both;
use crate::engine::{Engine, Stream};
use crate::judges::{bearable, chance, shuffled};
use crate::net::{Pattern, listen, serve};
use crate::rounds::Rounds;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "K2",
        "one system call in 1,000 (at first, in 20) fails, is short or late, and reports are shuffled: no byte differs",
        400,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare, ProactorOneshot, ProactorWhole],
        traffic_with_faults
    );
}

/// Rounds in which faults are frequent, so that few rounds meet many.
const FREQUENT: u64 = 300;
/// Clients at a time.
const CLIENTS: usize = 3;

fn traffic_with_faults<E: Engine>(rounds: &mut Rounds) {
    let (mut injected, mut timeouts, mut bytes) = (0, 0, 0);
    crate::run::<E>(async |rt| {
        let seed = rounds.seed();
        let mut random = fastrand::Rng::with_seed(seed);
        let pattern = Rc::new(Pattern::new(seed));
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let shuffle = shuffled(seed);
        E::set_editor(rt, Some(Rc::new(move |reports: &mut Vec<Report>| shuffle(reports))));
        let (mut judge, mut met) = chance(seed, 20, bearable);
        E::set_judge(rt, Some(judge));
        for round in rounds.by_ref() {
            if round == FREQUENT {
                injected += met.get();
                (judge, met) = chance(seed, 1000, bearable);
                E::set_judge(rt, Some(judge));
            }
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (handle, pattern, seed) = (rt.clone(), Rc::clone(&pattern), random.u64(..));
                    rt.spawn(async move {
                        let stream = handle.connect(addr).await.expect("connect");
                        client::<E>(&handle, stream, &pattern, seed).await
                    })
                })
                .collect();
            for client in clients {
                let (said, waited) = client.await.expect("no panic");
                bytes += said;
                timeouts += waited;
            }
        }
        injected += met.get();
        E::set_judge(rt, None);
        E::set_editor(rt, None);
        server.abort();
    });
    rounds.figure("injected", injected);
    rounds.figure("timeouts of receives", timeouts);
    rounds.figure("bytes", bytes);
}

/// Says something of random length and hears it again, in pieces, with timeouts. Returns how much it was, and
/// how many receives timed out.
async fn client<E: Engine>(rt: &E::Rt, stream: Stream<E>, pattern: &Pattern, seed: u64) -> (usize, u64) {
    use executor::Stream as _;
    let mut random = fastrand::Rng::with_seed(seed);
    let (total, place) = (random.usize(1..20_000), random.usize(0..1_000_000));
    let (mut reader, mut writer) = stream.split();
    let timeouts = Cell::new(0);
    let say = async {
        let mut said = 0;
        while said < total {
            let len = (total - said).min(1 + total / 3);
            writer.write_all(pattern.bytes(place + said, len)).await.0.expect("write");
            said += len;
        }
        writer.shutdown().await.expect("shutdown");
    };
    let hear = async {
        let mut heard = 0;
        loop {
            let limit = Duration::from_micros(random.u64(0..500));
            let Ok(chunk) = rt.timeout(limit, reader.recv()).await else {
                timeouts.update(|count| count + 1);
                continue;
            };
            let chunk = chunk.expect("recv");
            if chunk.bytes().is_empty() {
                return heard;
            }
            pattern.check(place + heard, chunk.bytes());
            heard += chunk.bytes().len();
        }
    };
    let ((), heard) = both(say, hear).await;
    assert_eq!(heard, total, "bytes were lost");
    (total, timeouts.get())
}

//! Goal: the same seed gives the same run, always, and another seed another one.
//!
//! Method: a small crowd with timers, cancels and resets. Its trace is compared between two runs, and with that
//! of a process of its own, where all addresses and hash seeds are different.

use std::process::Command;
use std::time::Duration;

use fastrand::Rng;
use sim::{Listener, Reader, Runtime, Sim, Weather, Writer};

/// Tells a child the seed whose trace it is to print.
const CHILD: &str = "PRINT_TRACE_OF";

fn crowd(seed: u64) -> (u64, u64) {
    let sim = sim::Builder::new(seed).weather(Weather { resets: 0.01, ..Weather::stormy() }).build();
    sim.block_on(async {
        let mut listener = sim.listen("[::1]:80".parse().unwrap(), &Default::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..8).map(|name| sim.spawn(client(sim.clone(), address, seed + name))).collect();
        let server = sim.spawn({
            let sim = sim.clone();
            async move {
                loop {
                    let mut stream = listener.accept().await.unwrap();
                    sim.spawn(async move {
                        while let Ok(chunk) = stream.recv().await
                            && !chunk.is_empty()
                            && stream.write_all(chunk).await.0.is_ok()
                        {}
                    })
                    .detach();
                }
            }
        });
        for client in clients {
            client.await.unwrap();
        }
        server.abort();
    });
    let run = (sim.trace(), sim.steps());
    sim.finish();
    run
}

async fn client(sim: Sim, address: std::net::SocketAddr, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let Ok(mut stream) = sim.connect(address).await else { return };
    for _ in 0..random.u32(1..30) {
        let patience = Duration::from_micros(random.u64(0..2000));
        let exchange = async {
            stream.write_all(vec![7; random.usize(1..3000)]).await.0?;
            stream.recv().await
        };
        if !matches!(sim.timeout(patience, exchange).await, Ok(Ok(_)) | Err(_)) {
            return;
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    if let Ok(seed) = std::env::var(CHILD) {
        println!("trace={:?}", crowd(seed.parse().unwrap()));
        return;
    }
    let mut runs: Vec<_> = (1..=100).map(crowd).collect();
    for (seed, run) in (1..).zip(&runs) {
        assert_eq!(crowd(seed), *run, "seed {seed}");
        assert!(run.1 > 100, "seed {seed} is a run of {} steps", run.1);
    }
    for seed in [1, 50, 100] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["a_seed_is_a_run", "--exact", "--nocapture"]).env(CHILD, seed.to_string());
        let printed = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let expected = format!("trace={:?}", runs[seed - 1]);
        assert!(printed.contains(&expected), "seed {seed} in another process: {printed}, here {expected}");
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 100, "each seed is a run of its own");
}

#[test]
fn a_seed_that_fails_says_how_to_replay_it() {
    if std::env::var_os(CHILD).is_some() {
        sim::for_each_seed(100, |seed| {
            let sim = Sim::stormy(seed);
            sim.block_on(async {
                assert_ne!(seed, 42, "planted");
                sim.sleep(Duration::from_secs(1)).await;
            });
        });
        return;
    }
    let run = |one: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["a_seed_that_fails_says_how_to_replay_it", "--exact", "--nocapture"]).env(CHILD, "");
        child.env("CARGO_PKG_NAME", "sim");
        one.map(|seed| child.env("SIM_SEED", seed));
        let output = child.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_good, printed) = run(None);
    let command = "SIM_SEED=42 cargo test -p sim a_seed_that_fails_says_how_to_replay_it\n";
    assert!(!is_good && printed.contains(command) && printed.contains("planted"), "{printed}");
    assert!(printed.contains("sim: seed 42, the last of "), "{printed}");
    let again = run(Some("42"));
    assert!(!again.0 && again.1.contains("sim: seed 42, the last of "), "{}", again.1);
    assert!(run(Some("41")).0);
    let (is_good, printed) = run(Some("x"));
    assert!(!is_good && printed.contains("SIM_SEED=17, for example"), "{printed}");
}

//! Goal: a system call that fails, is interrupted, is short or is late never corrupts anything. Either
//! the transcript of a fixed conversation is the same as without the fault, or somebody gets a clean
//! error; and the end is balanced in both cases.
//!
//! Method: the seam between each driver and the kernel. For every name of call and every k, the k-th
//! call of that name fails, over a conversation of two clients with an echo server.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{IoBuf, JoinError, ListenOptions, Listener, Reader, Runtime, Verdict, Writer, panic_text};
use tests::net::{Pattern, V4, duplex, recv_exactly};
use tests::{Bench, Engine, Suite, both, ms, on_every_engine, on_every_fallback, on_reactors, run, settle};

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;

/// Two clients, each with three questions of different sizes, served by tasks. The transcript is what
/// the clients got.
async fn conversation<E: Engine>(rt: E::Rt) -> io::Result<Vec<u8>> {
    let mut listener = rt.listen(V4, &ListenOptions::default())?;
    let addr = listener.local_addr()?;
    let server = rt.spawn({
        let rt = rt.clone();
        async move {
            for _ in 0..2 {
                let stream = listener.accept().await?;
                rt.spawn(serve::<E>(stream)).detach();
            }
            io::Result::Ok(())
        }
    });
    let mut transcript = Vec::new();
    for client in 0..2u8 {
        let mut stream = rt.connect(addr).await?;
        for (round, size) in [1usize, 1000, 100_000].into_iter().enumerate() {
            let question = vec![client * 10 + round as u8; size];
            stream.write_all(question).await.0?;
            let (result, answer) = stream.read_exact(vec![0; size]).await;
            result?;
            transcript.extend(answer);
        }
        stream.shutdown().await?;
        let end = stream.recv().await?;
        transcript.extend_from_slice(end.bytes());
        rt.sleep(ms(1)).await;
    }
    match server.await {
        Ok(result) => result?,
        Err(JoinError::Panicked(payload)) => panic!("{}", payload.text()),
        Err(other) => panic!("{other}"),
    }
    Ok(transcript)
}

async fn serve<E: Engine>(mut stream: tests::Stream<E>) -> io::Result<()> {
    loop {
        let chunk = stream.recv().await?;
        if chunk.bytes().is_empty() {
            return stream.shutdown().await;
        }
        stream.write_all(chunk).await.0?;
    }
}

/// How a conversation went with the `k`-th call of `name` failing.
#[derive(Debug, PartialEq)]
enum Outcome {
    Same,
    CleanError(String),
    /// The driver gave up, and said so.
    Panic(String),
}

fn converse<E: Engine>(expected: &[u8], name: &'static str, k: u64, verdict: Verdict) -> Outcome {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let judge = Rc::new(move |call, before| if call == name && before == k { verdict } else { Verdict::Pass });
    E::set_judge(rt, Some(judge));
    // A server's task may have met the error instead of the client, which then waits for an answer.
    let talk = rt.timeout(ms(2000), conversation::<E>(rt.clone()));
    let outcome = match catch_unwind(AssertUnwindSafe(|| rt.block_on(talk))) {
        Ok(Ok(Ok(transcript))) => {
            assert!(transcript == expected, "call {k} of {name}: another transcript");
            Outcome::Same
        }
        Ok(Ok(Err(error))) => Outcome::CleanError(error.to_string()),
        Ok(Err(elapsed)) => panic!("call {k} of {name}, {verdict:?}: it hangs ({elapsed}); {}", rt.stats()),
        Err(payload) => Outcome::Panic(panic_text(payload.as_ref()).to_owned()),
    };
    E::set_judge(rt, None);
    if !matches!(outcome, Outcome::Panic(_)) {
        // The server may still wait for a client that never came.
        let mut bench = bench;
        bench.end();
        bench.finish();
    } else {
        bench.finish();
    }
    outcome
}

/// The calls the conversation makes, and its transcript.
fn rehearse<E: Engine>() -> (Vec<u8>, BTreeMap<&'static str, u64>) {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let transcript = rt.block_on(conversation::<E>(rt.clone())).unwrap();
    settle::<E>(rt);
    // The write that wakes is made by other threads, too, and doesn't pass the seam.
    let calls = rt.stats().driver.system_calls.into_iter().filter(|(name, _)| *name != "write").collect();
    bench.finish();
    assert_eq!(transcript.len(), 2 * 101_001);
    (transcript, calls)
}

/// The first calls of each name, and then ever fewer.
fn some_of(calls: u64) -> impl Iterator<Item = u64> {
    (0..calls).filter(|k| *k < 24 || k % 7 == 0).take(40)
}

/// A signal during the call: everything goes on as if nothing had been.
fn interrupted_calls_change_nothing<E: Engine>() {
    let (expected, calls) = rehearse::<E>();
    for (name, count) in calls {
        // A signal during close or connect or shutdown or epoll_ctl is told to the caller, or is none.
        let is_restarted = matches!(name, "recvfrom" | "sendto" | "accept4" | "epoll_pwait2" | "io_uring_enter");
        for k in some_of(count) {
            let outcome = converse::<E>(&expected, name, k, Verdict::Fail(EINTR));
            assert!(!matches!(outcome, Outcome::Panic(_)), "call {k} of {name}: {outcome:?}");
            assert!(!is_restarted || outcome == Outcome::Same, "call {k} of {name}: {outcome:?}");
        }
    }
}

/// The kernel is short of memory: the call's user is told, or the runtime tries again.
fn no_memory_is_told_or_borne<E: Engine>() {
    let (expected, calls) = rehearse::<E>();
    for (name, count) in calls {
        for k in some_of(count) {
            match converse::<E>(&expected, name, k, Verdict::Fail(ENOMEM)) {
                Outcome::Same | Outcome::CleanError(_) => {}
                // Waiting itself is the one thing nobody can be told about.
                Outcome::Panic(text) => {
                    assert!(name.starts_with("epoll_") && text.contains("cannot go on"), "{k}, {name}: {text}");
                }
            }
        }
    }
}

/// Late calls are only late.
fn late_calls_change_nothing<E: Engine>() {
    let (expected, calls) = rehearse::<E>();
    for (name, count) in calls {
        for k in some_of(count).step_by(5) {
            let outcome = converse::<E>(&expected, name, k, Verdict::Delay(Duration::from_micros(1500)));
            assert_eq!(outcome, Outcome::Same, "call {k} of {name}");
        }
    }
}

/// The ring's one call refuses for a while: nothing is lost, and nothing that was pushed is freed.
fn a_busy_ring_is_borne<E: Engine>() {
    let (expected, _) = rehearse::<E>();
    for errno in [EAGAIN, ENOMEM, 16] {
        for k in 0..50 {
            let outcome = converse::<E>(&expected, "io_uring_enter", k, Verdict::Fail(errno));
            assert_eq!(outcome, Outcome::Same, "errno {errno} at call {k}");
        }
        // Twenty in a row, which is past the patience of the first kind.
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        E::set_judge(
            rt,
            Some(Rc::new(move |_, before| match before {
                5..25 => Verdict::Fail(errno),
                _ => Verdict::Pass,
            })),
        );
        assert!(rt.block_on(conversation::<E>(rt.clone())).unwrap() == expected);
        settle::<E>(rt);
        bench.finish();
    }
}

/// Every call that moves bytes moves one, or a few: the stream is the same.
fn short_calls_move_every_byte<E: Engine>() {
    run::<E>(async |rt| {
        for limit in [1, 7] {
            let (mut here, mut there) = duplex::<E>(rt).await;
            E::set_judge(rt, Some(Rc::new(move |_, _| Verdict::Shorten(limit))));
            let (pattern, total) = (Pattern::new(limit as u64), 20_000);
            let (sent, received) = both(here.write_all(pattern.bytes(0, total)), recv_exactly(&mut there, total)).await;
            sent.0.unwrap();
            pattern.check(0, &received);
            E::set_judge(rt, None);
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.limit(120);
    on_every_fallback!(suite, interrupted_calls_change_nothing, no_memory_is_told_or_borne);
    on_every_engine!(suite, late_calls_change_nothing);
    on_reactors!(suite, short_calls_move_every_byte);
    tests::on_engines!(suite, [ProactorFull, ProactorBare], a_busy_ring_is_borne);
    suite.run()
}

//! Goal: a system call that fails, is interrupted, is short or is late never corrupts anything. Either
//! the transcript of a fixed conversation is the same as without the fault, or somebody gets a clean
//! error and the runtime goes on; and the end is balanced in both cases.
//!
//! Method: the seam between each driver and the kernel, from the first call of setting the runtime up. For
//! every name of call and every k, the k-th call of that name fails, over a conversation of two clients with
//! an echo server. On the proactor each operation is such a call, too. Then the same conversation again, with
//! nothing in its way.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{Config, Verdict, Writer, judge_setups, panic_text};
use tests::judges::at;
use tests::judges::errno::{EAGAIN, EBUSY, EINTR, EMFILE, ENOMEM, ENOSPC};
use tests::net::{Pattern, duplex, recv_exactly};
use tests::{
    Bench, Engine, Suite, TRANSCRIPT, both, conversation, ms, on_engines, on_every_engine, on_every_fallback, run,
    settle,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// How a conversation went with the `k`-th call of `name` failing.
#[derive(Debug, PartialEq)]
enum Outcome {
    Same,
    CleanError(String),
    /// The driver gave up, and said so.
    Panic(String),
}

fn converse<E: Engine>(expected: &[u8], name: &'static str, k: u64, verdict: Verdict) -> Outcome {
    judge_setups(Some(at(name, k, verdict)));
    let built = Bench::<E>::try_with(Config::default());
    judge_setups(None);
    let mut bench = match built {
        Ok(bench) => bench,
        Err(error) => {
            Bench::<E>::new().finish();
            return Outcome::CleanError(error.to_string());
        }
    };
    let rt = bench.rt();
    // A server's task may have met the error instead of the client, which then waits for an answer.
    let talk = || rt.timeout(ms(2000), conversation::<E>(rt.clone()));
    let outcome = match catch_unwind(AssertUnwindSafe(|| rt.block_on(talk()))) {
        Ok(Ok(Ok(transcript))) => {
            assert!(transcript == expected, "call {k} of {name}: another transcript");
            Outcome::Same
        }
        Ok(Ok(Err(error))) => Outcome::CleanError(error.to_string()),
        Ok(Err(elapsed)) => panic!("call {k} of {name}, {verdict:?}: it hangs ({elapsed}); {}", rt.stats()),
        Err(payload) => Outcome::Panic(panic_text(payload.as_ref()).to_owned()),
    };
    E::set_judge(rt, None);
    if matches!(outcome, Outcome::CleanError(_)) {
        let again = rt.block_on(talk()).expect("it hangs").expect("nothing is in its way any more");
        assert!(again == expected, "call {k} of {name}, {verdict:?}: another transcript afterwards");
    }
    if !matches!(outcome, Outcome::Panic(_)) {
        // The server may still wait for a client that never came.
        bench.end();
    }
    bench.finish();
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
    assert_eq!(transcript.len(), TRANSCRIPT);
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
        let is_restarted = matches!(
            name,
            "recvfrom"
                | "sendto"
                | "accept4"
                | "epoll_pwait2"
                | "epoll_wait"
                | "io_uring_enter"
                | "op_accept"
                | "op_recv"
                | "op_send"
        );
        for k in some_of(count) {
            let outcome = converse::<E>(&expected, name, k, Verdict::Fail(EINTR));
            assert!(!matches!(outcome, Outcome::Panic(_)), "call {k} of {name}: {outcome:?}");
            assert!(!is_restarted || outcome == Outcome::Same, "call {k} of {name}: {outcome:?}");
        }
    }
}

/// The kernel is short of memory, of descriptors or of places: the call's user is told, or the runtime tries
/// again.
fn shortages_are_told_or_borne<E: Engine>() {
    let (expected, calls) = rehearse::<E>();
    for (name, count) in calls {
        for (errno, k) in [ENOMEM, EMFILE, ENOSPC].into_iter().flat_map(|errno| some_of(count).map(move |k| (errno, k)))
        {
            match converse::<E>(&expected, name, k, Verdict::Fail(errno)) {
                Outcome::Same => {}
                Outcome::CleanError(error) => {
                    let is_borne =
                        name == "accept4" || name == "op_accept" || (name == "io_uring_enter" && errno == ENOMEM);
                    assert!(!is_borne, "call {k} of {name}, errno {errno}: {error}");
                }
                // Waiting itself is the one thing nobody can be told about.
                Outcome::Panic(text) => {
                    let is_wait = matches!(name, "epoll_pwait2" | "epoll_wait" | "io_uring_enter");
                    assert!(is_wait && text.contains("cannot go on"), "{k}, {name}: {text}");
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

/// The ring's one call refuses, once or for a while: nothing is lost, and nothing that was pushed is freed
/// before it completes, once: the balance check insists that no completion is stray and no operation is left.
fn a_busy_ring_is_borne<E: Engine>() {
    let (expected, _) = rehearse::<E>();
    for errno in [EINTR, EAGAIN, ENOMEM, EBUSY] {
        for k in 0..50 {
            let outcome = converse::<E>(&expected, "io_uring_enter", k, Verdict::Fail(errno));
            assert_eq!(outcome, Outcome::Same, "errno {errno} at call {k}");
        }
        // Twenty in a row, which is past the patience of the first kind.
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        E::set_judge(
            rt,
            Some(Rc::new(move |name, before| match before {
                5..25 if name == "io_uring_enter" => Verdict::Fail(errno),
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
    suite.limit(300);
    on_every_fallback!(suite, interrupted_calls_change_nothing, shortages_are_told_or_borne);
    on_every_engine!(suite, late_calls_change_nothing, short_calls_move_every_byte);
    on_engines!(suite, [ProactorFull, ProactorBare], a_busy_ring_is_borne);
    suite.run()
}

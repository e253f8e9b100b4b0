//! Goal: a process ends when the program says so, with the status that it gives, wherever in a runtime it says it and
//! whatever is under way.
//!
//! Method: forked processes with operations in flight, a job that never returns and a timer, which exit in a task, in a
//! job, in a destructor at the end of the runtime, and with a runtime in a thread-local of the main thread.

use std::cell::RefCell;
use std::future::pending;
use std::process::{ExitCode, exit};
use std::thread;
use std::time::Duration;

use executor::{Config, Reader as _, Stream as _, Writer as _, yield_now};
use oracles::forked;
use tests::net::pair;
use tests::{Engine, Suite, ms, on_every_fallback};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// The status with which they exit.
const STATUS: i32 = 7;

/// A runtime with work of every kind under way.
fn busy<E: Engine>() -> E::Rt {
    let rt = E::build(Config { shutdown_deadline: Duration::from_millis(50), ..Config::default() }).unwrap();
    rt.block_on(async {
        for _ in 0..3 {
            let (stream, peer) = pair::<E>(&rt).await;
            let (mut read, mut write) = stream.split();
            rt.spawn(async move { read.recv().await.map(drop) }).detach();
            rt.spawn(async move {
                let _peer = peer;
                write.write_all(vec![1; 16 << 20]).await.0
            })
            .detach();
        }
        rt.spawn(rt.sleep(Duration::from_secs(3600))).detach();
        rt.spawn_blocking(|| {
            loop {
                thread::park();
            }
        })
        .detach();
        rt.sleep(ms(2)).await;
    });
    rt
}

/// Exits when it is dropped.
struct Exits;

impl Drop for Exits {
    fn drop(&mut self) {
        exit(STATUS);
    }
}

thread_local! {
    /// A runtime that lives as long as its thread.
    static KEPT: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

fn in_a_task<E: Engine>() {
    let rt = busy::<E>();
    rt.spawn(async {
        yield_now().await;
        exit(STATUS);
    })
    .detach();
    rt.block_on(pending::<()>());
}

fn in_a_job<E: Engine>() {
    let rt = busy::<E>();
    rt.spawn_blocking(|| exit(STATUS)).detach();
    rt.block_on(pending::<()>());
}

fn at_the_end_of_the_runtime<E: Engine>() {
    let rt = busy::<E>();
    let exits = Exits;
    rt.spawn(async move {
        let _exits = exits;
        pending::<()>().await;
    })
    .detach();
    rt.block_on(yield_now());
    drop(rt);
}

fn with_a_runtime_in_a_thread_local<E: Engine>() {
    KEPT.set(Some(Box::new(busy::<E>())));
    exit(STATUS);
}

fn beside_a_thread_with_a_runtime<E: Engine>() {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let rt = busy::<E>();
        sender.send(()).unwrap();
        rt.block_on(pending::<()>());
    });
    receiver.recv().unwrap();
    exit(STATUS);
}

fn a_process_ends_wherever_it_says_so<E: Engine>() {
    let ways: [(&str, fn()); 5] = [
        ("in a task", in_a_task::<E>),
        ("in a job", in_a_job::<E>),
        ("at the end of the runtime", at_the_end_of_the_runtime::<E>),
        ("with a runtime in a thread-local", with_a_runtime_in_a_thread_local::<E>),
        ("beside a thread with a runtime", beside_a_thread_with_a_runtime::<E>),
    ];
    for (what, way) in ways {
        let status = forked(way).expect("fork");
        assert_eq!(status.code(), Some(STATUS), "{what}: {status}");
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_process_ends_wherever_it_says_so);
    suite.run()
}

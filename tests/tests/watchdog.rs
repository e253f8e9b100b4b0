//! Goal: a hang is a failure that says what hangs: the task, what it waits for, and the descriptor.
//!
//! Method: each case starts itself again with a hang planted in it, and reads what the watchdog printed. In what
//! a healthy runtime leaves there is nothing of it.

use std::process::{Command, ExitCode, Stdio};

use executor::{Listener, Reader};
use tests::net::{listen, pair};
use tests::{Bench, Engine, Subject, Suite, ms, on_every_engine, watchdog};

/// Tells a case that it is to hang.
const PLANTED: &str = "PLANT_A_HANG";

/// Waits for bytes that nobody sends.
async fn waits_for_ever<E: Engine>(mut stream: tests::Stream<E>) {
    let _ = stream.recv().await;
}

/// Waits for a client that never comes.
async fn accepts_for_ever<L: Listener>(mut listener: L) {
    let _ = listener.accept().await;
}

/// Three tasks that nothing will ever wake, each for another reason.
fn hang<E: Engine>() {
    watchdog::start(ms(300));
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    rt.block_on(async {
        let (stream, _peer) = pair::<E>(rt).await;
        rt.spawn(waits_for_ever::<E>(stream)).detach();
        rt.spawn(accepts_for_ever(listen(rt).0)).detach();
        rt.spawn(std::future::pending::<()>()).await.expect("never");
    });
}

fn a_hang_is_dumped<E: Engine>() {
    if std::env::var_os(PLANTED).is_some() {
        return hang::<E>();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let output = command.env(PLANTED, "1").stdin(Stdio::null()).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{printed}");
    let count = |what: &str| printed.lines().filter(|line| line.contains(what)).count();
    // Beside the task that asks.
    for name in ["waits_for_ever", "accepts_for_ever", "Pending<()>"] {
        let is_it = |line: &&str| line.starts_with("task Key") && line.contains("waits: ") && line.contains(name);
        assert_eq!(printed.lines().filter(is_it).count(), 1, "{name}: {printed}");
    }
    assert_eq!(count("tasks_now=4"), 1, "{printed}");
    if E::NAME == "proactor" {
        assert_eq!((count("receives again and again on fd "), count("accepts on fd ")), (1, 1), "{printed}");
        assert_eq!(count("InFlight"), 2, "{printed}");
    } else {
        assert_eq!(count("registration Source"), 2, "{printed}");
        assert_eq!(count("waiting: [WaitSlot(true), WaitSlot(false)]"), 2, "{printed}");
    }
    assert!(count("-> \"socket:") >= 3, "descriptors are listed: {printed}");
}

fn nothing_is_left_in_the_dump_of_a_healthy_runtime<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    rt.block_on(async {
        let (stream, peer) = pair::<E>(rt).await;
        let task = rt.spawn(waits_for_ever::<E>(stream));
        rt.sleep(ms(1)).await;
        assert!(rt.dump().contains("waits_for_ever"));
        drop(peer);
        task.await.expect("no panic");
    });
    tests::settle::<E>(rt);
    let dump = rt.dump();
    assert!(["task ", "registration ", "operation "].iter().all(|what| !dump.contains(what)), "{dump}");
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, a_hang_is_dumped, nothing_is_left_in_the_dump_of_a_healthy_runtime);
    suite.run()
}

//! Goal: the end of a child process is awaited like anything else: whenever it comes, however often it is asked for, and
//! with no zombie left.
//!
//! Method: shells and `tr`, which nobody here wrote, on every engine and with every fallback; afterwards this process has
//! no child any more.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::task::Poll;

use executor::{Config, Net, Writer, yield_now};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tests::filters::{no_filters, refuse};
use tests::judges::errno::{ENOSYS, EOPNOTSUPP, EPERM};
use tests::net::{Pattern, recv_to_end};
use tests::{
    Bench, Engine, Suite, both, is_closed, ms, on_every_engine, on_every_fallback, poll_idle, poll_once, run,
    start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).spawn().expect("a shell")
}

/// One that ends only when it is told to.
fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().expect("sleep")
}

/// Runs `body`, after which this process has no child, dead or alive.
fn run_without_zombies<E: Engine>(body: impl AsyncFnOnce(&E::Rt)) {
    run::<E>(body);
    assert_eq!(waitpid(None, WaitOptions::NOHANG).map(drop).unwrap_err(), Errno::CHILD, "a child is left");
}

fn how_it_ended_is_told<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        assert!(rt.wait_for_exit(&mut shell("true")).await.unwrap().success());
        assert_eq!(rt.wait_for_exit(&mut shell("sleep 0.01; exit 7")).await.unwrap().code(), Some(7));
        assert_eq!(rt.wait_for_exit(&mut shell("kill -KILL $$")).await.unwrap().signal(), Some(9));
        // Over before it is asked for.
        let mut child = shell("exit 3");
        while !is_zombie(&child) {
            rt.sleep(ms(1)).await;
        }
        assert_eq!(rt.wait_for_exit(&mut child).await.unwrap().code(), Some(3));
        // Asked again it says the same, and so does std.
        assert_eq!(rt.wait_for_exit(&mut child).await.unwrap().code(), Some(3));
        assert_eq!(child.wait().unwrap().code(), Some(3));
    });
}

fn is_zombie(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it was not waited for");
    stat.rsplit(") ").next().expect("the state").starts_with('Z')
}

fn a_hundred_at_once<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let waits = (0..100).map(|number| {
            let mut child = shell(&format!("exit {number}"));
            let handle = rt.clone();
            rt.spawn(async move { handle.wait_for_exit(&mut child).await.unwrap() })
        });
        for (number, wait) in waits.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(wait.await.unwrap().code(), Some(number as i32));
        }
    });
}

fn a_dropped_wait_leaves_the_child<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let mut child = sleeper();
        let process = Pid::from_child(&child);
        for _ in 0..3 {
            start_then_drop(rt.wait_for_exit(&mut child), yield_now()).await;
            start_then_drop(rt.wait_for_exit(&mut child), rt.sleep(ms(1))).await;
        }
        // As the documentation has it.
        assert!(rt.timeout(ms(2), rt.wait_for_exit(&mut child)).await.is_err());
        test_kill_process(process).unwrap();
        assert!(!is_zombie(&child));
        // It ends while it is waited for; and, after that, with the wait dropped in between.
        let (status, ()) =
            both(rt.wait_for_exit(&mut child), async { kill_process(process, Signal::KILL).unwrap() }).await;
        assert_eq!(status.unwrap().signal(), Some(9));
        let mut child = sleeper();
        let process = Pid::from_child(&child);
        let end = async {
            kill_process(process, Signal::TERM).unwrap();
            rt.sleep(ms(1)).await;
        };
        start_then_drop(rt.wait_for_exit(&mut child), end).await;
        assert_eq!(rt.wait_for_exit(&mut child).await.unwrap().signal(), Some(15));
    });
}

fn its_input_is_closed_first<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(rt.wait_for_exit(&mut child).await.unwrap().success());
    });
}

fn a_pause_is_no_end<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let mut child = sleeper();
        let process = Pid::from_child(&child);
        kill_process(process, Signal::STOP).unwrap();
        start_then_drop(rt.wait_for_exit(&mut child), rt.sleep(ms(2))).await;
        kill_process(process, Signal::CONT).unwrap();
        start_then_drop(rt.wait_for_exit(&mut child), rt.sleep(ms(2))).await;
        child.kill().unwrap();
        assert_eq!(rt.wait_for_exit(&mut child).await.unwrap().signal(), Some(9));
    });
}

fn a_status_that_others_took_is_missed<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let mut child = shell("exit 1");
        waitpid(Some(Pid::from_child(&child)), WaitOptions::empty()).unwrap();
        assert_eq!(rt.wait_for_exit(&mut child).await.unwrap_err().raw_os_error(), Some(Errno::CHILD.raw_os_error()));
    });
}

/// More than any pipe holds goes into `tr` and comes out of it.
fn a_child_is_talked_to<E: Engine>() {
    run_without_zombies::<E>(async |rt| {
        let mut command = Command::new("tr");
        let mut child = command.args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = rt.pipe_writer(child.stdin.take().unwrap()).unwrap();
        let mut output = rt.pipe_reader(child.stdout.take().unwrap()).unwrap();
        let text: Vec<u8> = Pattern::new(1).bytes(0, 1_000_000).iter().map(|byte| b'a' + byte % 26).collect();
        let expected = text.to_ascii_uppercase();
        let writing = async {
            input.write_all(text).await.0.unwrap();
            input.shutdown().await.unwrap();
        };
        let ((), answer) = both(writing, recv_to_end(&mut output)).await;
        assert!(answer == expected, "{} bytes", answer.len());
        assert!(rt.wait_for_exit(&mut child).await.unwrap().success());
    });
}

/// An older kernel answers ENOSYS. A filter that does not know the call answers EPERM or EOPNOTSUPP.
fn without_a_descriptor_for_it_it_is_asked<E: Engine>(errno: i32) {
    refuse(libc::SYS_pidfd_open, errno);
    how_it_ended_is_told::<E>();
    a_dropped_wait_leaves_the_child::<E>();
    a_status_that_others_took_is_missed::<E>();
}

fn where_the_call_is_unknown<E: Engine>() {
    without_a_descriptor_for_it_it_is_asked::<E>(ENOSYS);
}

fn where_the_call_is_forbidden<E: Engine>() {
    without_a_descriptor_for_it_it_is_asked::<E>(EPERM);
}

fn where_the_call_is_not_supported<E: Engine>() {
    without_a_descriptor_for_it_it_is_asked::<E>(EOPNOTSUPP);
}

fn the_end_of_the_runtime_is_told<E: Engine>() {
    let mut child = sleeper();
    // To who waits across it, ...
    let rt = E::build(Config::default()).unwrap();
    let handle = rt.clone();
    let mut wait = Box::pin(handle.wait_for_exit(&mut child));
    rt.block_on(async {
        assert!(poll_once(&mut wait).await.is_none());
        yield_now().await;
    });
    drop(rt);
    match poll_idle(&mut wait) {
        Poll::Ready(Err(error)) => assert!(is_closed(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    drop(wait);
    drop(handle);
    // ... and to who asks after it. A task that waits is dropped, and leaves nothing.
    let mut bench = Bench::<E>::new();
    let handle = bench.handle();
    let mut other = sleeper();
    let process = Pid::from_child(&other);
    bench.rt().spawn(async move { drop(handle.wait_for_exit(&mut other).await) }).detach();
    bench.rt().block_on(bench.rt().sleep(ms(1)));
    bench.end();
    let error = match poll_idle(&mut Box::pin(bench.handle().wait_for_exit(&mut child))) {
        Poll::Ready(result) => result.unwrap_err(),
        Poll::Pending => panic!("it waits"),
    };
    assert!(is_closed(&error), "{error}");
    bench.finish();
    kill_process(process, Signal::KILL).unwrap();
    waitpid(Some(process), WaitOptions::empty()).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

/// It is a poll, which a ring for sockets lets through.
fn a_ring_for_sockets_waits_too() {
    let Ok(rt) = proactor::Builder::new().sockets_only().build() else { return };
    assert!(rt.block_on(rt.wait_for_exit(&mut shell("sleep 0.01"))).unwrap().success());
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        how_it_ended_is_told,
        a_hundred_at_once,
        a_dropped_wait_leaves_the_child,
        its_input_is_closed_first,
        a_pause_is_no_end,
        a_status_that_others_took_is_missed,
        a_child_is_talked_to,
        the_end_of_the_runtime_is_told,
    );
    if suite.is_possible("seccomp filters", no_filters) {
        on_every_engine!(
            suite,
            where_the_call_is_unknown,
            where_the_call_is_forbidden,
            where_the_call_is_not_supported,
        );
    }
    suite.add_plain("a_ring_for_sockets_waits_too", a_ring_for_sockets_waits_too);
    suite.run()
}

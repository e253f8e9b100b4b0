//! Goal: the simulated sockets do what the kernel's do, and a run that can't go on says why.
//!
//! Method: one small program for each promise, most in calm weather, where everything has its exact time.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sim::{Builder, ListenOptions, Listener, Reader, Runtime, Sim, Stream, Weather, Writer};

const ADDRESS: &str = "10.0.0.1:80";

fn address() -> SocketAddr {
    ADDRESS.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// The text of the panic that `run` ends with.
fn panic_of(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it was meant to panic");
    executor::panic_text(panic.as_ref()).to_owned()
}

#[test]
fn time_is_exact_and_takes_none() {
    let sim = Sim::calm(1);
    sim.block_on(async {
        sim.sleep(Duration::from_secs(86_400)).await;
        assert_eq!(sim.elapsed(), Duration::from_secs(86_400));
        let mut ticks = sim.interval(ms(10));
        for _ in 0..100 {
            ticks.tick().await;
        }
        assert_eq!(sim.elapsed(), Duration::from_secs(86_400) + ms(990));
    });
    sim.finish();
}

#[test]
fn bytes_take_their_latency_and_arrive_in_order() {
    let weather = Weather { latency: ms(10)..=ms(10), ..Weather::calm() };
    let sim = Builder::new(1).weather(weather).build();
    sim.block_on(async {
        let (mut one, mut other) = sim.pair().await.unwrap();
        assert_eq!(sim.elapsed(), ms(20), "the request, and the answer");
        one.write_all("a").await.0.unwrap();
        one.write_all("b").await.0.unwrap();
        assert_eq!(&*other.recv().await.unwrap(), b"ab");
        assert_eq!(sim.elapsed(), ms(30));
    });
    sim.finish();
}

#[test]
fn nobody_listens_and_a_backlog_that_stays_full() {
    let sim = Sim::calm(1);
    sim.block_on(async {
        assert_eq!(kind(sim.connect(address()).await), Some(ErrorKind::ConnectionRefused));
        let one = ListenOptions { backlog: 1, ..ListenOptions::default() };
        let mut listener = sim.listen(address(), &one).unwrap();
        assert_eq!(kind(sim.listen(address(), &one)), Some(ErrorKind::AddrInUse));
        let first = sim.connect(address()).await.unwrap();
        assert_eq!(kind(sim.connect(address()).await), Some(ErrorKind::TimedOut));
        assert_eq!(sim.elapsed(), Duration::from_secs(127), "as Linux has it: 1, 2, 4 ... 64 seconds");
        let late = sim.spawn({
            let sim = sim.clone();
            async move { sim.connect(address()).await.unwrap() }
        });
        sim.sleep(ms(100)).await;
        listener.accept().await.unwrap();
        late.await.unwrap();
        assert_eq!(sim.elapsed(), Duration::from_secs(128), "it knocks again after a second");
        drop(first);
    });
    sim.finish();
}

#[test]
fn accepting_pauses_while_there_are_no_descriptors_and_loses_nobody() {
    let sim = Builder::new(1).weather(Weather { sockets: 4, ..Weather::calm() }).build();
    sim.block_on(async {
        let mut listener = sim.listen(address(), &ListenOptions::default()).unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(sim.connect(address()).await.unwrap());
        }
        let accepted = listener.accept().await.unwrap();
        assert_eq!(sim.connect(address()).await.unwrap_err().raw_os_error(), Some(24), "EMFILE");
        let waiting = sim.timeout(Duration::from_secs(1), listener.accept()).await;
        assert!(waiting.is_err(), "there is no descriptor");
        // 10 ms, then twice as long each time, up to 100.
        assert_eq!(sim.stats().accept_pauses, 13);
        drop(accepted);
        let second = listener.accept().await.unwrap();
        drop(second);
        listener.accept().await.unwrap();
    });
    sim.finish();
}

#[test]
fn accepting_waits_out_what_passes() {
    sim::for_each_seed(100, |seed| {
        let sim = Builder::new(seed).weather(Weather { accept_trouble: 0.8, ..Weather::calm() }).build();
        sim.block_on(async {
            let mut listener = sim.listen(address(), &ListenOptions::default()).unwrap();
            for _ in 0..5 {
                let client = sim.connect(address()).await.unwrap();
                let (since, before) = (sim.elapsed(), sim.stats().accept_pauses);
                drop((listener.accept().await.unwrap(), client));
                let pauses = sim.stats().accept_pauses - before;
                let waited: Duration = (0..pauses).map(|pause| ms((10 << pause.min(9)).min(100))).sum();
                assert_eq!(sim.elapsed() - since, waited, "{pauses} pauses");
            }
        });
        sim.finish();
    });
}

#[test]
fn a_reset_comes_after_the_data_and_is_told_once() {
    let sim = Sim::calm(1);
    sim.block_on(async {
        let (mut one, mut other) = sim.pair().await.unwrap();
        one.write_all("data").await.0.unwrap();
        sim.reset_on_close(&one);
        drop(one);
        assert_eq!(&*other.recv().await.unwrap(), b"data");
        assert_eq!(kind(other.recv().await), Some(ErrorKind::ConnectionReset));
        assert_eq!(other.recv().await.unwrap().len(), 0);
        assert_eq!(kind(other.write_all("x").await.0), Some(ErrorKind::BrokenPipe));

        let (one, mut other) = sim.pair().await.unwrap();
        other.write_all("never read").await.0.unwrap();
        sim.sleep(ms(1)).await;
        drop(one);
        assert_eq!(kind(other.recv().await), Some(ErrorKind::ConnectionReset), "closed with something unread");

        let (one, mut other) = sim.pair().await.unwrap();
        drop(one);
        assert_eq!(other.recv().await.unwrap().len(), 0);
        other.write_all("nobody is there").await.0.unwrap();
        sim.sleep(ms(1)).await;
        assert_eq!(kind(other.write_all("any more").await.0), Some(ErrorKind::ConnectionReset));

        let (mut one, mut other) = sim.pair().await.unwrap();
        sim.reset(&one);
        assert_eq!(kind(one.recv().await), Some(ErrorKind::ConnectionReset));
        assert_eq!(kind(other.recv().await), Some(ErrorKind::ConnectionReset));
    });
    sim.finish();
}

#[test]
fn a_writer_waits_for_room_and_an_end_leaves_the_other_way_open() {
    let sim = Builder::new(1).weather(Weather { buffer: 1000..=1000, ..Weather::calm() }).build();
    sim.block_on(async {
        let (mut one, mut other) = sim.pair().await.unwrap();
        let probe = sim.probe(&one);
        assert!(sim.timeout(ms(5), one.write_all(vec![1; 5000])).await.is_err());
        assert_eq!((probe.sent(), probe.writes()), (1000, 1));
        assert_eq!(kind(one.write_all("x").await.0), Some(ErrorKind::BrokenPipe), "a part of it was sent");
        one.shutdown().await.unwrap();
        assert_eq!(probe.shut_down_at(), Some(ms(5)));
        let (result, bytes) = other.read_exact(vec![0; 1000]).await;
        result.unwrap();
        assert_eq!(bytes, [1; 1000]);
        assert_eq!(other.recv().await.unwrap().len(), 0);
        other.write_all("still open").await.0.unwrap();
        assert_eq!(&*one.recv().await.unwrap(), b"still open");
        assert_eq!((probe.received(), probe.chunks_lent(), probe.refused_writes()), (10, 0, 0));
        one.close().await.unwrap();
        assert_eq!(probe.closed_at(), Some(ms(5)));
    });
    sim.finish();
}

#[test]
fn a_cancel_that_comes_too_late_loses_nothing() {
    let weather = Weather { submitted: 1.0, late_cancel: 1.0, ..Weather::calm() };
    let sim = Builder::new(1).weather(weather).build();
    sim.block_on(async {
        let mut listener = sim.listen(address(), &ListenOptions::default()).unwrap();
        assert!(sim.timeout(ms(1), listener.accept()).await.is_err());
        let mut one = sim.connect(address()).await.unwrap();
        sim.sleep(ms(1)).await;
        let mut other = listener.accept().await.unwrap();
        assert!(sim.timeout(ms(1), other.recv()).await.is_err());
        one.write_all("kept").await.0.unwrap();
        sim.sleep(ms(1)).await;
        assert_eq!(&*other.recv().await.unwrap(), b"kept");
        assert_eq!(sim.stats().driver.orphans, Some(2));
    });
    sim.finish();
}

#[test]
fn a_run_that_cannot_go_on_says_why() {
    let text = panic_of(|| {
        let sim = Sim::calm(1);
        sim.block_on(async {
            let (mut one, _other) = sim.pair().await.unwrap();
            let _ = one.recv().await;
        });
    });
    assert!(text.contains("everybody waits for what will never come"), "{text}");
    assert!(text.contains("somebody waits to read"), "{text}");
    let text = panic_of(|| {
        let sim = Sim::calm(1);
        sim.block_on(async {
            let deadline = sim.now() + ms(1);
            while sim.now() < deadline {
                sim::yield_now().await;
            }
        });
    });
    assert!(text.contains("some task is busy for ever"), "{text}");
    let text = panic_of(|| {
        let sim = Builder::new(1).max_steps(1000).build();
        sim.block_on(async {
            let mut ticks = sim.interval(ms(1));
            loop {
                ticks.tick().await;
            }
        });
    });
    assert!(text.contains("more than 1000 steps"), "{text}");
}

#[test]
fn a_panic_nobody_awaits_fails_the_run() {
    let text = panic_of(|| {
        let sim = Sim::calm(1);
        sim.spawn(async { panic!("in a task") }).detach();
        sim.block_on(pending::<()>());
    });
    assert_eq!(text, "in a task");
    let text = panic_of(|| {
        let sim = Sim::calm(1);
        let stream = sim.block_on(sim.pair()).unwrap();
        sim.finish();
        drop(stream);
    });
    assert!(text.contains("left over at the end: [(\"streams\", 2)]"), "{text}");
}

#[test]
fn after_the_end_all_is_closed() {
    let sim = Sim::calm(1);
    let (handle, (mut one, _other)) = (sim.clone(), sim.block_on(sim.pair()).unwrap());
    drop(sim);
    let is_closed = |error: io::Error| error.get_ref().is_some_and(|inner| inner.is::<executor::Closed>());
    assert!(is_closed(handle.listen(address(), &ListenOptions::default()).unwrap_err()));
    let other = Sim::calm(2);
    assert!(other.block_on(async { is_closed(one.recv().await.unwrap_err()) }));
    other.finish();
}

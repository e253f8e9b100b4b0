//! Too little room: for descriptors, for events, for submissions, for completions.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use executor::{Listener, Reader, Runtime, Stats, Stream as _, Verdict, Writer, yield_now};
use reactor::{AsyncFd, Direction, Reactor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use super::{Scenario, scenario};
use crate::descriptors::{leave_room_for, lift_the_limit};
use crate::engine::Engine;
use crate::judges::{errno, first, names_something, scheduled};
use crate::net::{ask, echo, listen, recv_exactly};
use crate::rounds::Rounds;
use crate::{ms, poll_once};

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "L1",
        "at the limit of descriptors few accepts are tried, who is connected goes on, and who waits is served after",
        6,
        [ReactorLevel, ReactorEdge],
        at_the_limit_of_descriptors
    );
    scenario!(
        all,
        "P16",
        "at the limit of descriptors few accepts are tried, who is connected goes on, and who waits is served after",
        6,
        [ProactorFull, ProactorOneshot],
        at_the_limit_of_descriptors
    );
    scenario!(
        all,
        "L7",
        "4,096 descriptors become ready at once, and waits are interrupted: each is served, no timer is early",
        2,
        [ReactorLevel, ReactorEdge, ReactorMillis],
        more_ready_than_events_fit
    );
    scenario!(
        all,
        "P6",
        "1,000 completions beyond a queue of 8, and wakes from another thread meanwhile: all arrive",
        2,
        [ProactorTiny],
        more_completions_than_fit
    );
    scenario!(
        all,
        "P7",
        "10,000 operations started in one poll through a queue of 8 (1,024), half of them dropped at once: all end",
        1,
        [ProactorTiny, ProactorFull],
        more_submissions_than_fit
    );
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Attempts to accept that failed, whichever way the engine makes them.
fn count_failed_accepts<E: Engine>(rt: &E::Rt) -> Rc<Cell<u64>> {
    let failed = Rc::new(Cell::new(0));
    let counter = Rc::clone(&failed);
    E::set_editor(
        rt,
        Some(Rc::new(move |reports| {
            let refused = |result| [-errno::EMFILE, -errno::ENFILE].contains(&result);
            let more = reports.iter().filter(|report| names_something(report) && refused(report.result)).count();
            counter.set(counter.get() + more as u64);
        })),
    );
    failed
}

fn at_the_limit_of_descriptors<E: Engine>(rounds: &mut Rounds) {
    const WAITING: usize = 200;
    const FREED: usize = 20;
    crate::run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let mut friend = TcpStream::connect(addr).expect("connect");
        let mut stream = listener.accept().await.expect("accept");
        let mut waiting: Vec<_> = (0..WAITING).map(|_| socket()).collect();
        // So that there is no accept under way which still knows the old limit.
        drop(listener);
        let mut fillers = leave_room_for(1);
        let (mut listener, addr) = listen(rt);
        waiting.iter_mut().for_each(|socket| socket.connect(&addr.into()).expect("connect"));
        let failed = count_failed_accepts::<E>(rt);
        let handle = rt.clone();
        let server = rt.spawn(async move {
            for _ in 0..WAITING {
                handle.spawn(echo(listener.accept().await.expect("a shortage is no error"))).detach();
            }
        });
        let (start, cpu_before, accepts) = (Instant::now(), cpu(), accepts_tried(rt));
        let mut slowest = Duration::ZERO;
        for _ in rounds.by_ref() {
            rt.sleep(ms(100)).await;
            let asked = Instant::now();
            friend.write_all(b"still there?").expect("write");
            assert_eq!(recv_exactly(&mut stream, 12).await, b"still there?");
            slowest = slowest.max(asked.elapsed());
        }
        let (took, cpu_used) = (start.elapsed(), cpu() - cpu_before);
        let tried = (accepts_tried(rt) - accepts).max(failed.get());
        assert!(!server.is_finished() && tried > 0);
        assert!(tried <= 100 * (took.as_secs() + 1), "{tried} attempts in {took:?}");
        // The process may have no more than before, but some of them are free now.
        fillers.truncate(fillers.len() - FREED.min(fillers.len()));
        let freed = Instant::now();
        let clients = std::thread::spawn(move || {
            for socket in waiting {
                // Once served it leaves, and makes room for the next.
                ask(&mut TcpStream::from(socket), b"at last");
            }
        });
        while !clients.is_finished() {
            rt.sleep(ms(1)).await;
        }
        clients.join().expect("all are served");
        server.await.expect("no panic");
        let served = freed.elapsed();
        assert!(served < ms(10_000), "{served:?}");
        lift_the_limit();
        E::set_editor(rt, None);
        rounds.figure("accepts tried per second", format!("{:.0}", tried as f64 / took.as_secs_f64()));
        rounds.figure("CPU, %", format!("{:.1}", 100.0 * cpu_used.as_secs_f64() / took.as_secs_f64()));
        rounds.figure("slowest answer to who is connected, us", slowest.as_micros());
        rounds.figure("all waiting served after, ms", served.as_millis());
    });
}

fn socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket")
}

fn accepts_tried<R: Runtime>(rt: &R) -> u64 {
    let calls = rt.stats().driver.system_calls;
    calls.iter().filter(|(name, _)| matches!(*name, "accept4" | "op_accept")).map(|(_, count)| count).sum()
}

/// Events that one wait takes.
const EVENTS: u64 = 64;

fn more_ready_than_events_fit<E: Engine<Rt = Reactor>>(rounds: &mut Rounds) {
    const READY: usize = 4096;
    lift_the_limit();
    crate::run::<E>(async |rt| {
        let served = Rc::new(Cell::new(0));
        let writers: Vec<_> = (0..READY).map(|_| eventfd(0, EventfdFlags::NONBLOCK).expect("eventfd")).collect();
        let mut tasks = Vec::new();
        for writer in &writers {
            let mut source = AsyncFd::new(rt, writer.try_clone().expect("dup")).expect("watched");
            let served = Rc::clone(&served);
            tasks.push(rt.spawn(async move {
                loop {
                    let mut count = [0; 8];
                    let read = |fd: std::os::fd::BorrowedFd<'_>| Ok(rustix::io::read(fd, &mut count)?);
                    source.io(Direction::Read, read).await.expect("read");
                    served.set(served.get() + 1);
                }
            }));
        }
        let (mut most, mut done) = (0, 0);
        for _ in rounds.by_ref() {
            // All park.
            rt.sleep(ms(20)).await;
            let interrupted = Verdict::Fail(errno::EINTR);
            let every_second = [interrupted, Verdict::Pass].repeat(100);
            let wait = if E::NAME == "reactor-millis" { "epoll_wait" } else { "epoll_pwait2" };
            E::set_judge(rt, Some(scheduled(wait, every_second)));
            for writer in &writers {
                rustix::io::write(writer, &1u64.to_ne_bytes()).expect("write");
            }
            let before = rt.stats().turns;
            while served.get() < done + READY {
                yield_now().await;
            }
            done += READY;
            most = most.max(rt.stats().turns - before);
            // A sleep of 2 ms, through a thousand interruptions.
            E::set_judge(rt, Some(first(wait, 1000, interrupted)));
            let asleep = Instant::now();
            rt.sleep(ms(2)).await;
            assert!(asleep.elapsed() >= ms(2), "early");
            E::set_judge(rt, None);
        }
        assert_eq!(served.get(), done, "served twice");
        // A wait in vain between any two; and the turns in which the last tasks are polled.
        assert!(most <= 2 * (READY as u64 / EVENTS) + 8, "{most} turns");
        for task in tasks {
            task.abort();
        }
        rounds.figure("turns until all were served, each second wait interrupted", most);
    });
}

fn more_completions_than_fit<E: Engine>(rounds: &mut Rounds) {
    const CLIENTS: u64 = 1000;
    lift_the_limit();
    crate::run::<E>(async |rt| {
        let (remote, woken) = (rt.remote(), Arc::new(AtomicU64::new(0)));
        let mut wakes = 0;
        for _ in rounds.by_ref() {
            let (mut listener, addr) = listen(rt);
            assert!(rt.timeout(ms(1), listener.accept()).await.is_err());
            // The runtime stands still meanwhile, and takes nothing.
            let (remote, counter) = (remote.clone(), Arc::clone(&woken));
            let waker = std::thread::spawn(move || {
                for _ in 0..CLIENTS {
                    let counter = Arc::clone(&counter);
                    let counted = async move || {
                        counter.fetch_add(1, Ordering::Relaxed);
                    };
                    drop(remote.spawn(counted).expect("room"));
                }
            });
            let mut peers: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(addr).expect("connect")).collect();
            waker.join().expect("no panic");
            wakes += CLIENTS;
            let mut streams = Vec::new();
            for _ in 0..CLIENTS {
                streams.push(rt.timeout(ms(10_000), listener.accept()).await.expect("lost").expect("accept"));
            }
            for (peer, stream) in peers.iter_mut().zip(&streams) {
                assert_eq!(peer.local_addr().expect("local"), stream.peer_addr().expect("peer"), "in their order");
            }
            peers.iter_mut().for_each(|peer| peer.write_all(b"x").expect("write"));
            for mut stream in streams {
                let read = rt.timeout(ms(10_000), stream.read([0; 8])).await.expect("lost");
                assert_eq!(read.0.expect("read"), 1);
            }
            while woken.load(Ordering::Relaxed) < wakes {
                rt.sleep(Duration::ZERO).await;
            }
        }
        // The way of waking still works, out of a sleep.
        let last = rt.remote();
        std::thread::spawn(move || last.stop());
        rt.stopped().await;
        let flushes = rt.stats().driver.overflow_flushes.expect("a proactor");
        assert!(flushes > 0, "the queue never overflowed: nothing was proven");
        rounds.figure("overflow flushes", flushes);
    });
}

fn enters(stats: &Stats) -> u64 {
    let calls = stats.driver.system_calls.iter().filter(|(name, _)| *name == "io_uring_enter");
    calls.map(|(_, count)| count).sum()
}

fn more_submissions_than_fit<E: Engine>(rounds: &mut Rounds) {
    const STREAMS: usize = 5000;
    lift_the_limit();
    let (mut cancels, mut deferred) = (0, 0);
    crate::run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let (mut peers, mut halves) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            peers.push(TcpStream::connect(addr).expect("connect"));
            halves.push(listener.accept().await.expect("accept").split());
        }
        drop(listener);
        for round in rounds.by_ref() {
            peers.iter_mut().for_each(|peer| peer.write_all(b"in").expect("write"));
            let before = rt.stats();
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            for (reader, writer) in &mut halves {
                reads.push(Box::pin(reader.read(vec![0; 16])));
                writes.push(Box::pin(writer.write(vec![round as u8; 3])));
            }
            // All in this one poll.
            for (read, write) in reads.iter_mut().zip(&mut writes) {
                assert!(poll_once(read).await.is_none());
                assert!(poll_once(write).await.is_none());
            }
            let started = rt.stats();
            assert_eq!(operations(&started) - operations(&before), 2 * STREAMS as u64);
            let allocated = oracles::allocations(|| drop(reads));
            let dropped = rt.stats();
            assert_eq!(enters(&started), enters(&dropped), "a drop submits nothing");
            // The list of what is to be cancelled may grow, by doubling.
            assert!(allocated.is_none_or(|count| count <= 16), "{allocated:?} allocations");
            for write in writes {
                let (count, _) = rt.timeout(ms(20_000), write).await.expect("it never ended");
                assert_eq!(count.expect("write"), 3);
            }
            while rt.stats().driver.operations_now > Some(0) {
                yield_now().await;
            }
            // What the dropped reads had, or had not, is all there.
            for (reader, _) in &mut halves {
                assert_eq!(recv_exactly(reader, 2).await, b"in");
            }
            // And all at once that the kernel has by then: more cancels than fit its queue.
            let mut reads: Vec<_> = halves.iter_mut().map(|(reader, _)| Box::pin(reader.read(vec![0; 16]))).collect();
            for read in &mut reads {
                drop(poll_once(read).await);
            }
            yield_now().await;
            drop(reads);
            while rt.stats().driver.operations_now > Some(0) {
                yield_now().await;
            }
            let ended = rt.stats().driver;
            cancels += ended.orphans.unwrap_or(0) - before.driver.orphans.unwrap_or(0);
            deferred += ended.operations_deferred.unwrap_or(0) - before.driver.operations_deferred.unwrap_or(0);
            for peer in &mut peers {
                let mut answer = [0; 3];
                peer.read_exact(&mut answer).expect("what was written arrives");
                assert_eq!(answer, [round as u8; 3]);
            }
        }
    });
    let is_tiny = E::NAME == "proactor-tiny";
    assert!(cancels > if is_tiny { 0 } else { 1024 }, "{cancels} cancels: nothing was proven");
    assert!(!is_tiny || deferred > 0, "nothing was deferred: nothing was proven");
    rounds.figure("cancels", cancels);
    rounds.figure("operations deferred", deferred);
}

fn operations(stats: &Stats) -> u64 {
    stats.driver.operations.expect("a proactor")
}

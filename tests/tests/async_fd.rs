//! Goal: any descriptor that epoll can watch can be waited for; one that it can't is refused with a
//! reason.
//!
//! Method: a pipe, an eventfd, a timerfd and a socket pair, through `AsyncFd`, in both modes.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use reactor::{AsyncFd, Direction, Reactor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tests::{Bench, Engine, Suite, is_closed, ms, on_reactors, poll_idle, run};

/// What rustix reports as an errno, as `io` wants it.
fn read(fd: impl AsFd, buffer: &mut [u8]) -> std::io::Result<usize> {
    Ok(rustix::io::read(fd, buffer)?)
}

fn a_pipe_both_ways<E: Engine<Rt = Reactor>>() {
    const TOTAL: usize = 1 << 20;
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let (mut reader, mut writer) = (AsyncFd::new(rt, reader).unwrap(), AsyncFd::new(rt, writer).unwrap());
        let sender = rt.spawn(async move {
            let mut sent = 0;
            while sent < TOTAL {
                let block = [sent as u8; 1000];
                let count = writer.io(Direction::Write, |fd| Ok(rustix::io::write(fd, &block)?)).await.unwrap();
                sent += count;
            }
        });
        let (mut received, mut buffer) = (0, vec![0; 4096]);
        loop {
            match reader.io(Direction::Read, |fd| read(fd, &mut buffer)).await.unwrap() {
                0 => break,
                count => received += count,
            }
        }
        sender.await.unwrap();
        assert!((TOTAL..TOTAL + 1000).contains(&received), "{received}");
    });
}

fn an_eventfd_from_another_thread<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let writer = eventfd.try_clone().unwrap();
        let mut counter = AsyncFd::new(rt, eventfd).unwrap();
        let thread = std::thread::spawn(move || {
            for _ in 0..5 {
                std::thread::sleep(ms(2));
                rustix::io::write(&writer, &3u64.to_ne_bytes()).unwrap();
            }
        });
        let mut sum = 0;
        while sum < 15 {
            let mut count = [0; 8];
            counter.io(Direction::Read, |fd| read(fd, &mut count)).await.unwrap();
            sum += u64::from_ne_bytes(count);
        }
        assert_eq!(sum, 15);
        thread.join().unwrap();
    });
}

fn a_timerfd<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap();
        let start = Instant::now();
        let spec = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: 20_000_000 },
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec).unwrap();
        let mut timer = AsyncFd::new(rt, timer).unwrap();
        let mut fired = [0; 8];
        timer.io(Direction::Read, |fd| read(fd, &mut fired)).await.unwrap();
        assert!(start.elapsed() >= ms(20));
        assert_eq!(u64::from_ne_bytes(fired), 1);
    });
}

fn what_cannot_be_watched_is_refused<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let file = std::env::current_exe().unwrap();
        for path in [file.as_path(), file.parent().unwrap()] {
            let fd = OwnedFd::from(std::fs::File::open(path).unwrap());
            let error = AsyncFd::new(rt, fd).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("regular files"), "{error}");
        }
        assert_eq!(rt.stats().driver.sources_now, Some(0));
    });
}

fn a_descriptor_comes_back<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let mut source = AsyncFd::new(rt, near).unwrap();
        let waits = source.io(Direction::Read, |fd| read(fd, &mut [0; 8]));
        assert!(rt.timeout(ms(1), waits).await.is_err());
        let near = source.into_inner();
        assert_eq!(near.as_raw_fd(), number);
        assert_eq!(rt.stats().driver.sources_now, Some(0));
        // It can be watched again: the first watch is really over.
        let mut source = AsyncFd::new(rt, near).unwrap();
        rustix::io::write(&far, b"x").unwrap();
        assert_eq!(source.io(Direction::Read, |fd| read(fd, &mut [0; 8])).await.unwrap(), 1);
    });
}

/// Two descriptors of one socket, waited for by two tasks at a time.
fn a_duplicate_is_a_source_of_its_own<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut reads, mut writes) =
            (AsyncFd::new(rt, near.try_clone().unwrap()).unwrap(), AsyncFd::new(rt, near).unwrap());
        let reader = rt.spawn(async move {
            reads.io(Direction::Read, |fd| read(fd, &mut [0; 8])).await.unwrap();
            reads
        });
        let block = vec![0; 1 << 16];
        let writer = rt.spawn(async move {
            for _ in 0..64 {
                writes.io(Direction::Write, |fd| Ok(rustix::io::write(fd, &block)?)).await.unwrap();
            }
        });
        rt.sleep(ms(5)).await;
        assert!(!reader.is_finished() && !writer.is_finished());
        rustix::io::write(&far, b"x").unwrap();
        drop(reader.await.unwrap());
        assert!(!writer.is_finished());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while rustix::io::read(&far, &mut buffer).unwrap() > 0 {}
        });
        writer.await.unwrap();
        thread.join().unwrap();
    });
}

fn errors_of_the_call_are_the_callers<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut source = AsyncFd::new(rt, near).unwrap();
        let mut tries = 0;
        let fails = source.io(Direction::Write, |_| -> std::io::Result<()> {
            tries += 1;
            if tries < 3 { Err(ErrorKind::Interrupted.into()) } else { Err(ErrorKind::InvalidData.into()) }
        });
        assert_eq!(fails.await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(tries, 3, "an interrupted call is made again");
    });
}

/// Dropped before and after what it waits for has come: it is there for the next.
fn a_dropped_wait_loses_nothing<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, far) = UnixStream::pair().unwrap();
        let mut source = AsyncFd::new(rt, near).unwrap();
        let mut calls = 0;
        for text in [b"one", b"two"] {
            let mut buffer = [0; 8];
            let waits = source.io(Direction::Read, |fd| read(fd, &mut buffer));
            tests::start_then_drop(waits, async {
                rustix::io::write(&far, text).unwrap();
                rt.sleep(ms(2)).await;
            })
            .await;
            let mut buffer = [0; 8];
            let count = source
                .io(Direction::Read, |fd| {
                    calls += 1;
                    read(fd, &mut buffer)
                })
                .await;
            assert_eq!(&buffer[..count.unwrap()], text);
        }
        assert_eq!(calls, 2, "each was there at once");
    });
}

fn after_the_end_it_is_closed<E: Engine<Rt = Reactor>>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let (near, far) = UnixStream::pair().unwrap();
    let mut source = AsyncFd::new(&rt, near).unwrap();
    bench.end();
    let waits = async { source.io(Direction::Read, |fd| read(fd, &mut [0; 8])).await };
    match poll_idle(&mut std::pin::pin!(waits)) {
        std::task::Poll::Ready(Err(error)) => assert!(is_closed(&error)),
        other => panic!("{other:?}"),
    }
    let (another, _) = UnixStream::pair().unwrap();
    assert!(is_closed(&AsyncFd::new(&rt, another).map(drop).unwrap_err()));
    drop((source, far, rt));
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_reactors!(
        suite,
        a_pipe_both_ways,
        an_eventfd_from_another_thread,
        a_timerfd,
        what_cannot_be_watched_is_refused,
        a_descriptor_comes_back,
        a_duplicate_is_a_source_of_its_own,
        errors_of_the_call_are_the_callers,
        a_dropped_wait_loses_nothing,
        after_the_end_it_is_closed,
    );
    suite.run()
}

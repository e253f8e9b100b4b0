//! Goal: the standard input and output are streams like others: every byte once and in order, whoever stops waiting for
//! it, with the loop going on meanwhile; and neither keeps a runtime or a process from its end.
//!
//! Method: each case is a process of its own, and puts pipes in the places of its descriptors 0 and 1.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::thread;

use executor::{Config, Reader, Writer, yield_now};
use rustix::io::Errno;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use tests::{Bench, Engine, Suite, elsewhere, ms, on_every_engine, run, start_then_drop};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn input() -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    dup2_stdin(reader).unwrap();
    writer
}

fn output() -> PipeReader {
    let (reader, writer) = std::io::pipe().unwrap();
    dup2_stdout(writer).unwrap();
    reader
}

fn a_pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place / 251 + place) as u8).collect()
}

fn input_arrives_whole_and_ends<E: Engine>() {
    const LEN: usize = 300_000;
    run::<E>(async |rt| {
        let mut writer = input();
        let mut stdin = rt.stdin();
        assert_eq!(stdin.read(vec![]).await.0.unwrap_err().kind(), ErrorKind::InvalidInput);
        writer.write_all(b"hello").unwrap();
        // Less than what the thread has read: the rest stays.
        assert_eq!(stdin.read_exact([0; 3]).await.1, *b"hel");
        assert_eq!(stdin.recv().await.unwrap(), b"lo");
        let feeder = thread::spawn(move || writer.write_all(&a_pattern(LEN)));
        let mut all = Vec::new();
        loop {
            let chunk = stdin.recv().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            all.extend(chunk);
        }
        assert!(all == a_pattern(LEN));
        feeder.join().unwrap().unwrap();
        assert!(stdin.recv().await.unwrap().is_empty(), "the end, again");
        assert_eq!(stdin.read([0; 4]).await.0.unwrap(), 0);
    });
}

fn a_dropped_read_loses_nothing<E: Engine>() {
    let mut writer = input();
    run::<E>(async |rt| {
        let mut stdin = rt.stdin();
        let mut expected = 0u8;
        for round in 0..50 {
            start_then_drop(stdin.recv(), rt.sleep(ms(round % 2))).await;
            writer.write_all(&[expected, expected + 1]).unwrap();
            drop(rt.timeout(ms(0), async { stdin.read([0; 1]).await.0.map(|count| expected += count as u8) }).await);
            while expected % 2 == 1 || expected / 2 == round as u8 {
                let (count, byte) = stdin.read([0; 1]).await;
                assert_eq!((count.unwrap(), byte[0]), (1, expected));
                expected += 1;
            }
        }
    });
}

/// Two wait, and both get something; and the thread that is left in its read keeps this process from nothing.
fn who_waits_is_served_and_nobody_keeps_the_end<E: Engine>() {
    let mut writer = input();
    run::<E>(async |rt| {
        let mut one = rt.stdin();
        let mut two = rt.stdin();
        let one = rt.spawn(async move { one.read([0; 1]).await.1 });
        let two = rt.spawn(async move { two.read([0; 1]).await.1 });
        yield_now().await;
        writer.write_all(b"a").unwrap();
        while !one.is_finished() && !two.is_finished() {
            yield_now().await;
        }
        writer.write_all(b"b").unwrap();
        let mut both = [one.await.unwrap()[0], two.await.unwrap()[0]];
        both.sort_unstable();
        assert_eq!(both, *b"ab");
        let mut three = rt.stdin();
        rt.spawn(async move { drop(three.recv().await) }).abort();
        let mut four = rt.stdin();
        start_then_drop(four.recv(), yield_now()).await;
    });
    // It reads until the process ends. (Dropped, the writer would end its read.)
    std::mem::forget(writer);
}

/// More than a pipe holds, so that writes wait for the other end: the loop does not.
fn output_arrives_whole<E: Engine>() {
    const LEN: usize = 300_000;
    run::<E>(async |rt| {
        let mut reader = output();
        let mut stdout = rt.stdout();
        let mut copy = rt.stdout();
        copy.write_all("first ").await.0.unwrap();
        let writer = rt.spawn(async move { stdout.write_all(a_pattern(LEN)).await.0 });
        for _ in 0..100 {
            yield_now().await;
        }
        rt.sleep(ms(1)).await;
        assert!(!writer.is_finished());
        let read = elsewhere(move || {
            let mut all = vec![0; LEN + 6];
            reader.read_exact(&mut all).map(|()| all)
        });
        let all = read.await.unwrap();
        assert!(all[..6] == *b"first " && all[6..] == a_pattern(LEN));
        writer.await.unwrap().unwrap();
        assert_eq!(copy.write("").await.0.unwrap(), 0);
        copy.shutdown().await.unwrap();
    });
}

fn a_dropped_write_breaks_the_writer<E: Engine>() {
    run::<E>(async |rt| {
        let mut reader = output();
        let mut stdout = rt.stdout();
        start_then_drop(stdout.write_all(vec![b'x'; 300_000]), rt.sleep(ms(1))).await;
        let (refused, buffer) = stdout.write("more").await;
        assert_eq!((refused.unwrap_err().kind(), buffer), (ErrorKind::BrokenPipe, "more"));
        // What was under way goes on, and no more follows.
        while rt.stats().blocking.jobs_now > 0 {
            let mut piece = vec![0; 1 << 16];
            let (count, piece, back) = elsewhere(move || (reader.read(&mut piece).unwrap(), piece, reader)).await;
            assert!(piece[..count].iter().all(|byte| *byte == b'x'));
            reader = back;
        }
    });
}

/// Nobody reads: the end waits for the deadline, and says what it left.
fn output_that_nobody_takes_is_left<E: Engine>() {
    let reader = output();
    let rt = E::build(Config { shutdown_deadline: ms(50), ..Config::default() }).unwrap();
    let handle = rt.clone();
    let mut stdout = rt.stdout();
    rt.spawn(async move {
        // It has the first of the pipe's sixteen pages to itself, so that no later piece ends where the pipe is full: the
        // one that fills it stays.
        stdout.write_all("x").await.0.unwrap();
        drop(stdout.write_all(vec![b'x'; 300_000]).await);
    })
    .detach();
    rt.block_on(async {
        while rustix::io::ioctl_fionread(&reader).unwrap() < 1 + 15 * 4096 {
            rt.sleep(ms(1)).await;
        }
    });
    drop(rt);
    assert_eq!(handle.stats().blocking.abandoned, 1);
    drop((handle, reader));
}

fn a_closed_output_is_an_error<E: Engine>() {
    drop(output());
    let bench = Bench::<E>::new();
    let error = bench.rt().block_on(async { bench.rt().stdout().write_all("x").await.0.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    bench.finish();
}

/// std takes it for an empty one.
fn an_input_that_cannot_be_read_is_an_error<E: Engine>() {
    let (_reader, writer) = std::io::pipe().unwrap();
    dup2_stdin(writer).unwrap();
    run::<E>(async |rt| {
        let error = rt.stdin().recv().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    });
    dup2_stdin(std::fs::File::open("/tmp").unwrap()).unwrap();
    run::<E>(async |rt| {
        let error = rt.stdin().recv().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ISDIR.raw_os_error()));
    });
}

/// Another process that shares a pipe may have made it non-blocking.
fn a_pipe_that_does_not_block_is_waited_for<E: Engine>() {
    const LEN: usize = 300_000;
    run::<E>(async |rt| {
        let (mut writer, mut reader) = (input(), output());
        rustix::io::ioctl_fionbio(std::io::stdin(), true).unwrap();
        rustix::io::ioctl_fionbio(std::io::stdout(), true).unwrap();
        let feeder = thread::spawn(move || {
            thread::sleep(ms(20));
            writer.write_all(b"hello")
        });
        assert_eq!(rt.stdin().recv().await.unwrap(), b"hello");
        feeder.join().unwrap().unwrap();
        let taker = thread::spawn(move || {
            thread::sleep(ms(20));
            let mut all = vec![0; LEN];
            reader.read_exact(&mut all).map(|()| all)
        });
        rt.stdout().write_all(a_pattern(LEN)).await.0.unwrap();
        assert!(taker.join().unwrap().unwrap() == a_pattern(LEN));
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        input_arrives_whole_and_ends,
        a_dropped_read_loses_nothing,
        who_waits_is_served_and_nobody_keeps_the_end,
        output_arrives_whole,
        a_dropped_write_breaks_the_writer,
        output_that_nobody_takes_is_left,
        a_closed_output_is_an_error,
        an_input_that_cannot_be_read_is_an_error,
        a_pipe_that_does_not_block_is_waited_for,
    );
    suite.run()
}

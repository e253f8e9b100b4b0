//! Goal: a file has the content that was written to it, at the offsets that were said; what
//! can go wrong is an error; and a future that is dropped costs nothing but its buffer.
//!
//! Method: random reads and writes against a vector, as a model; the ends of the file and of the range of
//! offsets; futures dropped in every state; files that outlive their runtime. On all variants of the proactor, and on the
//! reactor, where the pool's threads do it.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;

use executor::{BlockingConfig, Config, Files, IoBuf, RandomAccess, Reader, yield_now};
use proactor::{File, Proactor};
use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, memfd_create};
use tests::net::pair;
use tests::{Bench, Engine, Suite, is_closed, ms, on_proactors, on_reactors, poll_idle, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// A file without a name, in memory.
fn memory() -> std::fs::File {
    memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd_create").into()
}

/// A file without a name, in the file system that temporary files are in.
fn on_disk() -> std::fs::File {
    let options = OpenOptions::new().read(true).write(true).custom_flags(TMPFILE).clone();
    options.open(std::env::temp_dir()).expect("a file system that has O_TMPFILE")
}

const TMPFILE: i32 = OFlags::TMPFILE.bits().cast_signed();

/// A piece of up to 20 KB, somewhere in a file of about 200 KB.
fn place(random: &mut fastrand::Rng) -> (usize, usize) {
    (random.usize(0..200_000), random.usize(1..20_000))
}

fn it_holds_what_was_written<E: Engine>() {
    run::<E>(async |rt| {
        for std in [memory(), on_disk()] {
            let file = rt.file_from_std(std.try_clone().unwrap()).unwrap();
            let (mut model, mut random) = (Vec::<u8>::new(), fastrand::Rng::with_seed(1));
            for _ in 0..150 {
                let (start, len) = place(&mut random);
                let piece = vec![random.u8(..); len];
                model.resize(model.len().max(start + len), 0);
                model[start..start + len].copy_from_slice(&piece);
                let (written, _) = file.write_at(piece, start as u64).await;
                assert_eq!(written.unwrap(), len);
                let (start, len) = place(&mut random);
                let (count, read) = file.read_at(vec![0xaa; len], start as u64).await;
                let (count, there) = (count.unwrap(), model.len().saturating_sub(start).min(len));
                assert!(count <= there && (count > 0 || there == 0), "{count} of {there}");
                assert!(read[..count] == model[start.min(model.len())..][..count]);
                assert!(read[count..].iter().all(|byte| *byte == 0xaa), "beyond what it says");
            }
            file.sync().await.unwrap();
            assert_eq!(file.size().unwrap(), model.len() as u64);
            let mut all = vec![0; model.len()];
            std.read_exact_at(&mut all, 0).unwrap();
            assert!(all == model, "as others see it");
        }
    });
}

/// More futures than the queues have room for, on one file.
fn many_at_a_time<E: Engine>() {
    const MANY: u64 = 300;
    run::<E>(async |rt| {
        let file = std::rc::Rc::new(rt.file_from_std(memory()).unwrap());
        let writers: Vec<_> = (0..MANY).map(|n| (n, std::rc::Rc::clone(&file))).collect();
        let writers = writers.into_iter().map(|(n, file)| {
            rt.spawn(async move { assert_eq!(file.write_at(n.to_le_bytes(), n * 8).await.0.unwrap(), 8) })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let readers = (0..MANY).map(|n| {
            let file = std::rc::Rc::clone(&file);
            rt.spawn(async move { assert_eq!(file.read_at([0; 8], n * 8).await.1, n.to_le_bytes()) })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
    });
}

fn every_kind_of_buffer<E: Engine>() {
    run::<E>(async |rt| {
        let file = rt.file_from_std(memory()).unwrap();
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"chunk").unwrap();
        let chunk = stream.recv().await.unwrap();
        assert_eq!(file.write_at(chunk, 0).await.0.unwrap(), 5);
        assert_eq!(file.write_at("text", 5).await.0.unwrap(), 4);
        assert_eq!(file.write_at([1, 2, 3], 9).await.0.unwrap(), 3);
        assert_eq!(file.write_at(vec![9, 4, 5, 9].slice(1..3), 12).await.0.unwrap(), 2);
        let (count, slice) = file.read_at(vec![7; 20].slice(2..20), 0).await;
        assert_eq!(count.unwrap(), 14);
        assert_eq!(slice.into_inner(), b"\x07\x07chunktext\x01\x02\x03\x04\x05\x07\x07\x07\x07");
    });
}

fn the_ends_of_the_file_and_of_the_offsets<E: Engine>() {
    run::<E>(async |rt| {
        let file = rt.file_from_std(memory()).unwrap();
        assert_eq!(file.read_at([0; 4], 0).await.0.unwrap(), 0, "an empty file");
        assert_eq!(file.write_at("abcdef", 0).await.0.unwrap(), 6);
        let (count, bytes) = file.read_at([0; 4], 4).await;
        assert_eq!((count.unwrap(), bytes), (2, *b"ef\0\0"));
        for beyond in [6, 7, 1 << 40, i64::MAX as u64 - 4] {
            assert_eq!(file.read_at([0; 4], beyond).await.0.unwrap(), 0, "{beyond}");
        }
        // The file's own position is 0, and would be taken for these.
        for refused in [i64::MAX as u64 + 1, u64::MAX] {
            assert_eq!(file.read_at([0; 4], refused).await.0.unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(file.write_at("x", refused).await.0.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(file.write_at("x", i64::MAX as u64).await.0.is_err(), "no file is so large");
        assert_eq!(file.read_at(vec![], 0).await.0.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.write_at("", 100).await.0.unwrap(), 0);
        assert_eq!(file.size().unwrap(), 6, "as before");
    });
}

fn what_cannot_be_done_is_an_error<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let missing = File::open(rt, "/no/such/file", OpenOptions::new().read(true)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let file = File::open(rt, "/dev/null", OpenOptions::new().read(true)).unwrap();
        assert!(file.write_at("x", 0).await.0.is_err(), "opened for reading");
        let (_reader, writer) = std::io::pipe().unwrap();
        let pipe = File::from_std(rt, std::os::fd::OwnedFd::from(writer).into()).unwrap();
        assert_eq!(pipe.sync().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(pipe.read_at([0; 4], 0).await.0.is_err(), "the writing end");
        let directory = File::open(rt, "/", OpenOptions::new().read(true)).unwrap();
        assert_eq!(directory.read_at([0; 4], 0).await.0.unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

/// With the flag, io_uring says "would block" instead of waiting: seen on an empty pipe, where it always would.
fn a_non_blocking_file_waits<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let file = File::from_std(rt, std::os::fd::OwnedFd::from(reader).into()).unwrap();
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        let mut read = pin!(file.read_at([0; 4], 0));
        assert!(poll_once(&mut read).await.is_none());
        rt.sleep(ms(2)).await;
        assert!(poll_once(&mut read).await.is_none());
        writer.write_all(b"late").unwrap();
        assert_eq!(read.await.1, *b"late");
    });
}

/// Started and dropped in every state an operation can be in; the balance check is the judge, and the file
/// has what was not given up.
fn dropped_futures_cost_their_buffer_only<E: Engine>() {
    run::<E>(async |rt| {
        let file = rt.file_from_std(memory()).unwrap();
        assert_eq!(file.write_at(vec![1; 1 << 20], 0).await.0.unwrap(), 1 << 20);
        for round in 0..60u8 {
            let mut reads: Vec<_> = (0..20).map(|_| Box::pin(file.read_at(vec![0; 1 << 16], 0))).collect();
            let mut write = pin!(file.write_at(vec![2; 100], 2 << 20));
            let mut sync = pin!(file.sync());
            for read in &mut reads {
                drop(poll_once(read).await);
            }
            drop((poll_once(&mut write).await, poll_once(&mut sync).await));
            match round % 3 {
                0 => {}
                1 => yield_now().await,
                _ => rt.sleep(ms(1)).await,
            }
        }
        let (count, bytes) = file.read_at(vec![0; 1 << 20], 0).await;
        assert!(bytes[..count.unwrap()].iter().all(|byte| *byte == 1));
        let (count, bytes) = file.read_at(vec![0; 200], 2 << 20).await;
        let count = count.unwrap();
        assert!(count <= 100 && bytes[..count].iter().all(|byte| matches!(byte, 0 | 2)), "a prefix at most");
    });
}

fn closed_at_once(future: impl Future<Output = std::io::Result<()>>) {
    match poll_idle(&mut pin!(future)) {
        Poll::Ready(Err(error)) => assert!(is_closed(&error), "{error}"),
        other => panic!("{other:?}"),
    }
}

fn after_the_end_it_is_closed<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let file = rt.file_from_std(memory()).unwrap();
    rt.block_on(async { file.write_at("kept", 0).await.0.unwrap() });
    // Under way when the runtime ends, with an owner that lives on: it is told how that went.
    let mut read = Box::pin(file.read_at([0; 4], 0));
    let first = poll_idle(&mut read);
    bench.end();
    // A thread may have been so quick that the first poll was enough.
    match if first.is_pending() { poll_idle(&mut read) } else { first } {
        Poll::Ready((Ok(4), bytes)) => assert_eq!(bytes, *b"kept"),
        Poll::Ready((Err(error), _)) => assert!(is_closed(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    drop(read);
    closed_at_once(async { file.read_at([0; 4], 0).await.0.map(drop) });
    closed_at_once(async { file.write_at("x", 0).await.0.map(drop) });
    closed_at_once(file.sync());
    assert_eq!(file.size().unwrap(), 4, "the file is still there");
    assert!(is_closed(&rt.file_from_std(memory()).map(drop).unwrap_err()));
    drop((file, rt));
    let stats = bench.handle().stats();
    assert_eq!((stats.driver.operations_now.unwrap_or(0), stats.blocking.jobs_now), (0, 0));
}

/// More than the pool takes are refused, the others are not, and a dropped one makes room.
fn beyond_the_pool_a_read_is_refused<E: Engine>() {
    let blocking = BlockingConfig { max_threads: 1, max_jobs: 2, ..BlockingConfig::default() };
    let bench = Bench::<E>::with(Config { blocking, ..Config::default() });
    let rt = bench.handle();
    rt.block_on(async {
        let file = rt.file_from_std(memory()).unwrap();
        assert_eq!(file.write_at("abcd", 0).await.0.unwrap(), 4);
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        let (release, released) = std::sync::mpsc::channel::<()>();
        let held = rt.spawn_blocking(move || released.recv().is_err());
        let mut read = Box::pin(file.read_at([0; 4], 0));
        assert!(poll_once(&mut read).await.is_none());
        let (refused, _) = file.read_at([0; 4], 0).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        assert!(refused.to_string().contains("limit of tasks or jobs"), "{refused}");
        drop(read);
        let mut read = Box::pin(file.read_at([0; 4], 0));
        assert!(poll_once(&mut read).await.is_none());
        drop(release);
        assert_eq!(read.await.1, *b"abcd");
        assert!(held.await.unwrap());
    });
    drop(rt);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_reactors!(
        suite,
        it_holds_what_was_written,
        many_at_a_time,
        every_kind_of_buffer,
        the_ends_of_the_file_and_of_the_offsets,
        dropped_futures_cost_their_buffer_only,
        after_the_end_it_is_closed,
        beyond_the_pool_a_read_is_refused,
    );
    on_proactors!(
        suite,
        it_holds_what_was_written,
        many_at_a_time,
        every_kind_of_buffer,
        the_ends_of_the_file_and_of_the_offsets,
        what_cannot_be_done_is_an_error,
        a_non_blocking_file_waits,
        dropped_futures_cost_their_buffer_only,
        after_the_end_it_is_closed,
    );
    suite.run()
}

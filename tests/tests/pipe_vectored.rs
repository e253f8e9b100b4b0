//! Goal: several buffers that are written to a pipe at once arrive one after the other, whole, whichever end is slow; with few
//! calls; and what can go wrong gives the buffers back with the error.
//!
//! Method: parts of every size, empty ones among them, more than a call takes; readers of std that are late; writes that
//! are dropped midway.

use std::io::{ErrorKind, Read};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;

use executor::{Net, PipeWriter, Runtime, Stream, Writer};
use tests::net::{Pattern, any_size};
use tests::{
    Bench, Engine, Suite, both, elsewhere, is_closed, ms, on_every_variant, on_reactors, poll_idle, run,
    start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

type WriteEnd<R> = PipeWriter<<<R as Runtime>::Stream as Stream>::WriteHalf>;

fn end<R: Net>(rt: &R) -> (std::io::PipeReader, WriteEnd<R>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, rt.pipe_writer(writer).expect("a writer"))
}

/// As many parts as said, of at most so many bytes each; and all of their bytes.
fn parts(count: usize, most: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut random, pattern) = (fastrand::Rng::with_seed(count as u64), Pattern::new(3));
    let (mut parts, mut len) = (Vec::new(), 0);
    for _ in 0..count {
        let size = if random.u8(..4) == 0 { 0 } else { any_size(&mut random, most) };
        parts.push(pattern.bytes(len, size));
        len += size;
    }
    (parts, pattern.bytes(0, len))
}

fn parts_arrive_in_their_order<E: Engine>() {
    run::<E>(async |rt| {
        for (count, most, pause) in
            [(0, 1, 0), (3, 10, 0), (60, 100_000, 20), (1025, 1, 0), (3000, 1, 20), (3000, 500, 0)]
        {
            let (mut reader, mut writer) = end(rt);
            let (parts, all) = parts(count, most);
            let reading = elsewhere(move || {
                std::thread::sleep(ms(pause));
                let mut received = Vec::new();
                reader.read_to_end(&mut received).unwrap();
                received
            });
            let (received, ()) = both(reading, async {
                let (result, back) = writer.write_all_vectored(parts.clone()).await;
                result.unwrap();
                assert!(back == parts, "not what was given");
                writer.shutdown().await.unwrap();
            })
            .await;
            assert!(received == all, "{count} parts: {} bytes of {}", received.len(), all.len());
            let (result, back) = writer.write_all_vectored(parts.clone()).await;
            assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert!(back == parts);
        }
    });
}

fn a_reader_that_is_gone_is_an_error<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, mut writer) = end(rt);
        drop(reader);
        let (result, back) = writer.write_all_vectored(vec![vec![1; 10], vec![2; 10]]).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(back, [vec![1; 10], vec![2; 10]]);
    });
}

fn a_write_dropped_midway_breaks_the_writer<E: Engine>() {
    run::<E>(async |rt| {
        let (mut reader, mut writer) = end(rt);
        start_then_drop(writer.write_all_vectored(vec![vec![1; 1 << 20], vec![1; 1 << 20]]), rt.sleep(ms(2))).await;
        let (result, _) = writer.write_all_vectored(vec![vec![2; 10]]).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        writer.shutdown().await.unwrap();
        let received = elsewhere(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        })
        .await;
        assert!(received.iter().all(|byte| *byte == 1), "nothing follows a gap");
    });
}

fn the_end_of_the_runtime_is_told<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let (reader, mut writer) = end(bench.rt());
    bench.end();
    {
        let mut writing = pin!(writer.write_all_vectored(vec![vec![1; 10]]));
        let Poll::Ready((result, back)) = poll_idle(&mut writing) else {
            panic!("it waits for a runtime that is gone")
        };
        assert!(is_closed(&result.unwrap_err()));
        assert_eq!(back, [vec![1; 10]]);
    }
    drop((reader, writer));
    bench.finish();
}

fn one_call_takes_a_thousand_parts<E: Engine>() {
    run::<E>(async |rt| {
        let count = |name| rt.stats().driver.system_calls.iter().find(|call| call.0 == name).map_or(0, |call| call.1);
        let (mut reader, mut writer) = end(rt);
        writer.write_all_vectored(vec![vec![1]; 1024]).await.0.unwrap();
        assert_eq!((count("writev"), count("write"), count("sendmsg")), (1, 0, 0), "{}", rt.stats());
        writer.write_all_vectored(vec![vec![1]; 1025]).await.0.unwrap();
        assert_eq!(count("writev"), 3, "{}", rt.stats());
        reader.read_exact(&mut [0; 2049]).unwrap();
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        parts_arrive_in_their_order,
        a_reader_that_is_gone_is_an_error,
        a_write_dropped_midway_breaks_the_writer,
        the_end_of_the_runtime_is_told,
    );
    on_reactors!(suite, one_call_takes_a_thousand_parts);
    suite.run()
}

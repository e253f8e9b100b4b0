//! Goal: pipes, FIFOs and terminals carry bytes and ends as streams do, whoever is slow or gone, and whatever is dropped
//! while it waits; what can't be waited for is refused.
//!
//! Method: both ends on the runtime, or one of them a blocking one of std on a thread; on every engine, with every
//! fallback, and with calls that fall short or are interrupted.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;

use executor::{IoBuf, Net, PipeWriter, Reader, Runtime, Stream, Verdict, Writer, yield_now};
use proactor::Proactor;
use reactor::Reactor;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use tests::net::{Pattern, recv_exactly, recv_to_end};
use tests::{
    Bench, Engine, Suite, both, elsewhere, is_closed, ms, on_every_variant, on_proactors, on_reactors, poll_idle, run,
    start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

type ReadEnd<R> = <<R as Runtime>::Stream as Stream>::ReadHalf;
type WriteEnd<R> = PipeWriter<<<R as Runtime>::Stream as Stream>::WriteHalf>;

/// Both ends of a pipe, on the runtime.
fn ends<R: Net>(rt: &R) -> (ReadEnd<R>, WriteEnd<R>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (rt.pipe_reader(reader).expect("a reader"), rt.pipe_writer(writer).expect("a writer"))
}

const LEN: usize = 1_000_000;

fn bytes_go_through_whoever_is_slow<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(1);
        // Both ends here: one waits for the other all the time.
        let (mut reader, mut writer) = ends(rt);
        let (sent, received) = both(writer.write_all(pattern.bytes(0, LEN)), recv_exactly(&mut reader, LEN)).await;
        sent.0.unwrap();
        pattern.check(0, &received);
        // A slow reader elsewhere.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut writer = rt.pipe_writer(writer).unwrap();
        let reading = elsewhere(move || {
            let (mut all, mut piece) = (Vec::new(), vec![0; 50_000]);
            loop {
                std::thread::sleep(ms(1));
                match reader.read(&mut piece).unwrap() {
                    0 => return all,
                    count => all.extend_from_slice(&piece[..count]),
                }
            }
        });
        let bytes = pattern.bytes(3, LEN);
        let writing = async {
            writer.write_all(bytes).await.0.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (received, ()) = both(reading, writing).await;
        assert_eq!(received.len(), LEN);
        pattern.check(3, &received);
        // A slow writer elsewhere.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut reader = rt.pipe_reader(reader).unwrap();
        let bytes = pattern.bytes(5, LEN);
        let writing = elsewhere(move || {
            for piece in bytes.chunks(77_777) {
                std::thread::sleep(ms(1));
                writer.write_all(piece).unwrap();
            }
        });
        let ((), received) = both(writing, recv_to_end(&mut reader)).await;
        assert_eq!(received.len(), LEN);
        pattern.check(5, &received);
        // From pipe to pipe.
        let ((mut from, mut source), (mut sink, mut to)) = (ends(rt), ends(rt));
        let copying = rt.spawn(async move { executor::copy(&mut from, &mut to).await.unwrap() });
        let writing = async {
            source.write_all(pattern.bytes(7, LEN)).await.0.unwrap();
            drop(source);
        };
        let ((), received) = both(writing, recv_to_end(&mut sink)).await;
        assert_eq!((copying.await.unwrap(), received.len()), (LEN as u64, LEN));
        pattern.check(7, &received);
    });
}

fn the_end_is_the_writers_close<E: Engine>() {
    run::<E>(async |rt| {
        for is_shut in [true, false] {
            let (mut reader, mut writer) = ends(rt);
            writer.write_all("last words").await.0.unwrap();
            if is_shut {
                writer.shutdown().await.unwrap();
                let (refused, buffer) = writer.write_all("more").await;
                assert_eq!((refused.unwrap_err().kind(), buffer), (ErrorKind::BrokenPipe, "more"));
                assert_eq!(writer.write("more").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
                writer.shutdown().await.unwrap();
            } else {
                drop(writer);
            }
            assert_eq!(recv_to_end(&mut reader).await, b"last words");
            // Again and again.
            assert!(reader.recv().await.unwrap().bytes().is_empty());
            assert_eq!(reader.read(vec![0; 8]).await.0.unwrap(), 0);
        }
        // It ends who waits for it, too.
        let (mut reader, writer) = ends(rt);
        let waiting = rt.spawn(async move { recv_to_end(&mut reader).await });
        yield_now().await;
        drop(writer);
        assert!(waiting.await.unwrap().is_empty());
    });
}

fn a_reader_that_is_gone_is_an_error<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, mut writer) = ends(rt);
        drop(reader);
        let error = writer.write_all("anybody?").await.0.unwrap_err();
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::BrokenPipe, Some(32)));
        // While the writer waits for room.
        let (reader, mut writer) = ends(rt);
        let waiting = rt.spawn(async move { writer.write_all(vec![1; LEN]).await.0.unwrap_err().kind() });
        rt.sleep(ms(1)).await;
        assert!(!waiting.is_finished());
        drop(reader);
        assert_eq!(waiting.await.unwrap(), ErrorKind::BrokenPipe);
        // While the reader waits: nobody has it any more when its `recv` is dropped with it.
        let (mut reader, mut writer) = ends(rt);
        start_then_drop(reader.recv(), yield_now()).await;
        drop(reader);
        while writer.write_all("x").await.0.is_ok() {
            rt.sleep(ms(1)).await;
        }
    });
}

fn dropped_reads_lose_nothing<E: Engine>() {
    const ROUNDS: usize = 60;
    run::<E>(async |rt| {
        let (mut reader, mut writer) = ends(rt);
        let (pattern, mut received) = (Pattern::new(2), Vec::new());
        for round in 0..ROUNDS {
            let place = round * 100;
            let write = async {
                writer.write_all(pattern.bytes(place, 100)).await.0.unwrap();
                // Long enough for what was asked for to arrive, or too short.
                if round % 3 == 0 {
                    rt.sleep(ms(1)).await;
                }
            };
            match round % 2 {
                0 => start_then_drop(reader.recv(), write).await,
                _ => start_then_drop(reader.read(vec![0; 30]), write).await,
            }
            while received.len() < place + 100 {
                let (count, bytes) = reader.read(vec![0; 64]).await;
                received.extend_from_slice(&bytes[..count.unwrap()]);
            }
        }
        assert_eq!(received.len(), ROUNDS * 100);
        pattern.check(0, &received);
        drop(writer);
        assert!(reader.recv().await.unwrap().bytes().is_empty());
    });
}

/// Also by a write that would fit if there were room.
fn a_full_pipe_is_waited_for<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let room = fcntl_getpipe_size(&reader).unwrap();
        let (mut reader, mut writer) = (rt.pipe_reader(reader).unwrap(), rt.pipe_writer(writer).unwrap());
        let pattern = Pattern::new(8);
        writer.write_all(pattern.bytes(0, room)).await.0.unwrap();
        let rest = pattern.bytes(room, 100);
        let waiting = rt.spawn(async move { writer.write_all(rest).await.0.unwrap() });
        rt.sleep(ms(2)).await;
        assert!(!waiting.is_finished());
        let received = recv_to_end(&mut reader).await;
        assert_eq!(received.len(), room + 100);
        pattern.check(0, &received);
        waiting.await.unwrap();
    });
}

fn a_dropped_write_breaks_the_writer<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let room = fcntl_getpipe_size(&reader).unwrap();
        let (mut reader, mut writer) = (rt.pipe_reader(reader).unwrap(), rt.pipe_writer(writer).unwrap());
        let pattern = Pattern::new(3);
        start_then_drop(writer.write_all(pattern.bytes(0, room * 3)), rt.sleep(ms(1))).await;
        let (refused, buffer) = writer.write_all("more").await;
        assert_eq!((refused.unwrap_err().kind(), buffer), (ErrorKind::BrokenPipe, "more"));
        drop(writer);
        let received = recv_to_end(&mut reader).await;
        assert!((room..room * 3).contains(&received.len()), "{} of {room}", received.len());
        pattern.check(0, &received);
        // Before its first poll it harms nothing.
        let (mut reader, mut writer) = ends(rt);
        drop(writer.write_all("never"));
        writer.write_all("yes").await.0.unwrap();
        assert_eq!(recv_exactly(&mut reader, 3).await, b"yes");
    });
}

fn a_fifo_is_opened_and_carries<E: Engine>() {
    run::<E>(async |rt| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // To open one end waits for the other; both at once don't wait.
        let both_ends = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut reader = rt.pipe_reader(File::open(&path).unwrap()).unwrap();
        let mut writer = rt.pipe_writer(OpenOptions::new().write(true).open(&path).unwrap()).unwrap();
        drop(both_ends);
        let bytes = Pattern::new(4).bytes(0, LEN);
        let writing = async {
            writer.write_all(bytes).await.0.unwrap();
            writer.shutdown().await.unwrap();
        };
        let ((), received) = both(writing, recv_to_end(&mut reader)).await;
        assert_eq!(received.len(), LEN);
        Pattern::new(4).check(0, &received);
    });
}

/// A pipe of packets gives one for each read, however many there are: that a read was short proves nothing.
fn packets_come_one_by_one<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).unwrap();
        let (mut reader, mut writer) = (rt.pipe_reader(reader).unwrap(), File::from(writer));
        for count in [1, 3, 10] {
            // Once with the reader waiting, so that what follows the first packet is nobody's event.
            let waiting = async {
                let mut packets = Vec::new();
                while packets.len() < count {
                    packets.push(reader.recv().await.unwrap().bytes().to_vec());
                }
                packets
            };
            let write = async {
                (0..count).for_each(|number| writer.write_all(&vec![number as u8; number + 1]).unwrap());
            };
            let (packets, ()) = both(waiting, write).await;
            let expected: Vec<_> = (0..count).map(|number| vec![number as u8; number + 1]).collect();
            assert_eq!(packets, expected);
        }
        drop(writer);
        assert!(reader.recv().await.unwrap().bytes().is_empty());
    });
}

/// A terminal gives a line for each read, and one program's end of it is another's error.
fn a_terminal_gives_line_by_line<E: Engine>() {
    run::<E>(async |rt| {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&screen).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut lines = rt.pipe_reader(terminal).unwrap();
        let mut keys = rt.pipe_writer(screen.try_clone().unwrap()).unwrap();
        for round in 0..3 {
            let typing = async {
                if round == 1 {
                    rt.sleep(ms(1)).await;
                }
                keys.write_all("one\ntwo\nthree\n").await.0.unwrap();
            };
            let reading = async {
                let mut seen = Vec::new();
                while seen.len() < 3 {
                    seen.push(String::from_utf8(lines.recv().await.unwrap().bytes().to_vec()).unwrap());
                }
                seen
            };
            let (seen, ()) = both(reading, typing).await;
            assert_eq!(seen, ["one\n", "two\n", "three\n"]);
        }
        // Ctrl-D ends the input.
        keys.write_all("\x04").await.0.unwrap();
        assert!(lines.recv().await.unwrap().bytes().is_empty());
        // What was typed is shown, too.
        let mut shown = rt.pipe_reader(screen).unwrap();
        let line = recv_exactly(&mut shown, 5).await;
        assert_eq!(line, b"one\r\n");
        drop(lines);
        let gone = loop {
            if let Err(error) = shown.recv().await {
                break error;
            }
        };
        assert_eq!(gone.raw_os_error(), Some(5), "EIO, once nobody has the terminal");
    });
}

fn short_and_interrupted_calls_change_nothing<E: Engine>() {
    const LEN: usize = 30_000;
    run::<E>(async |rt| {
        let pattern = Pattern::new(5);
        let (mut reader, mut writer) = ends(rt);
        E::set_judge(
            rt,
            Some(Rc::new(|name, before| match (name, before % 7) {
                ("read" | "write" | "op_read" | "op_write", 0..=2) => Verdict::Shorten(1 + (before % 500) as usize),
                ("read" | "write" | "op_read" | "op_write", 4) => Verdict::Fail(4),
                _ => Verdict::Pass,
            })),
        );
        let (sent, received) = both(writer.write_all(pattern.bytes(0, LEN)), recv_exactly(&mut reader, LEN)).await;
        sent.0.unwrap();
        pattern.check(0, &received);
        E::set_judge(rt, None);
    });
}

/// A socket is read and written as well, with the calls of a pipe; its other side is left alone.
fn a_socket_may_be_taken_for_one<E: Engine>() {
    run::<E>(async |rt| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut reader = rt.pipe_reader(near.try_clone().unwrap()).unwrap();
        let mut writer = rt.pipe_writer(near).unwrap();
        far.write_all(b"question").unwrap();
        assert_eq!(recv_exactly(&mut reader, 8).await, b"question");
        drop(reader);
        writer.write_all("answer").await.0.unwrap();
        let mut answer = [0; 6];
        far.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    });
}

fn the_end_of_the_runtime_is_told<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let ((mut reader, _full), (_empty, mut writer)) = (ends(bench.rt()), ends(bench.rt()));
    bench.rt().block_on(async {
        start_then_drop(reader.recv(), yield_now()).await;
        start_then_drop(writer.write_all(vec![0; LEN]), yield_now()).await;
    });
    let handle = bench.handle();
    bench.end();
    let error = handle.pipe_reader(std::io::pipe().unwrap().0).map(drop).unwrap_err();
    assert!(is_closed(&error), "{error}");
    match poll_idle(&mut Box::pin(reader.recv())) {
        Poll::Ready(Err(error)) => assert!(is_closed(&error), "{error}"),
        _ => panic!("it reads on"),
    }
    drop((reader, writer, _full, _empty, handle));
    bench.finish();
}

/// The calls are counted by the names strace prints.
fn its_calls_are_its_own<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (mut reader, mut writer) = ends(rt);
        let count = |name| rt.stats().driver.system_calls.iter().find(|call| call.0 == name).map_or(0, |call| call.1);
        for _ in 0..5 {
            writer.write_all("x").await.0.unwrap();
            assert_eq!(recv_exactly(&mut reader, 1).await, b"x");
        }
        assert_eq!((count("write"), count("read")), (5, 5), "{}", rt.stats());
        assert_eq!((count("sendto"), count("recvfrom")), (0, 0));
        // A thread that wakes the loop writes, too.
        elsewhere(|| std::thread::sleep(ms(5))).await;
        assert!(count("write") > 5, "{}", rt.stats());
        let names: Vec<_> = rt.stats().driver.system_calls.iter().map(|call| call.0).collect();
        assert_eq!(names.iter().filter(|name| **name == "write").count(), 1, "one sum: {names:?}");
    });
}

fn what_cannot_be_watched_is_refused<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let file = || OwnedFd::from(File::open(std::env::current_exe().unwrap()).unwrap());
        let errors = [rt.pipe_reader(file()).map(drop).unwrap_err(), rt.pipe_writer(file()).map(drop).unwrap_err()];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("regular files"), "{error}");
        }
        assert_eq!(rt.stats().driver.sources_now, Some(0));
    });
}

/// io_uring reads what epoll can't watch, from where the file's own position is, and moves that.
fn a_file_is_taken_from_its_position_on<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let mut file = tempfile::tempfile().unwrap();
        let pattern = Pattern::new(6);
        file.write_all(b"before").unwrap();
        let mut writer = rt.pipe_writer(file.try_clone().unwrap()).unwrap();
        for place in [0, 50_000] {
            writer.write_all(pattern.bytes(place, 50_000)).await.0.unwrap();
        }
        file.seek(SeekFrom::Start(6)).unwrap();
        let mut reader = rt.pipe_reader(file).unwrap();
        let bytes = recv_to_end(&mut reader).await;
        assert_eq!(bytes.len(), 100_000);
        pattern.check(0, &bytes);
    });
}

fn a_ring_for_sockets_refuses_to_read() {
    let Ok(rt) = proactor::Builder::new().sockets_only().build() else { return };
    rt.block_on(async {
        let (mut reader, mut writer) = ends::<Proactor>(&rt);
        assert_eq!(reader.recv().await.map(drop).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(writer.write_all("x").await.0.unwrap_err().kind(), ErrorKind::PermissionDenied);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        bytes_go_through_whoever_is_slow,
        the_end_is_the_writers_close,
        a_reader_that_is_gone_is_an_error,
        dropped_reads_lose_nothing,
        a_full_pipe_is_waited_for,
        a_dropped_write_breaks_the_writer,
        a_fifo_is_opened_and_carries,
        packets_come_one_by_one,
        a_terminal_gives_line_by_line,
        short_and_interrupted_calls_change_nothing,
        a_socket_may_be_taken_for_one,
        the_end_of_the_runtime_is_told,
    );
    on_reactors!(suite, its_calls_are_its_own, what_cannot_be_watched_is_refused);
    on_proactors!(suite, a_file_is_taken_from_its_position_on);
    suite.add_plain("a_ring_for_sockets_refuses_to_read", a_ring_for_sockets_refuses_to_read);
    suite.run()
}

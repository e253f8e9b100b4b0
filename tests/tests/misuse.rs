//! Goal: what a program does by mistake, or only because it may, does not end in silence, in a loop that is stuck or busy,
//! or in memory that grows: it is told its mistake and the remedy, or nothing happens.
//!
//! Method: listeners that are none, buffers without room, flags that a duplicate of the descriptor changes, and futures
//! that are polled with another waker each time.

use std::future::{Future, pending};
use std::io::{ErrorKind, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use executor::{Files as _, JoinSet, Listener, Net as _, RandomAccess as _, Reader, Stream as _, Verdict, Writer};
use tests::judges::first;
use tests::net::{V4, listen, pair, recv_exactly};
use tests::{Engine, Subject as _, Suite, ms, on_every_engine, on_every_fallback, run};

const EOPNOTSUPP: i32 = 95;
const SOON: Duration = Duration::from_secs(5);

fn accepting_where_nothing_listens_is_an_error<E: Engine>() {
    run::<E>(async |rt| {
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind(&V4.into()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (stream, peer) = pair::<E>(rt).await;
        let connected = stream.as_fd().try_clone_to_owned().unwrap();
        let none: [(&str, OwnedFd); 6] = [
            ("a UDP socket", std::net::UdpSocket::bind(V4).unwrap().into()),
            ("a Unix datagram socket", std::os::unix::net::UnixDatagram::unbound().unwrap().into()),
            ("a socket that does not listen yet", bound.into()),
            ("a connection", connected),
            ("a pipe's reading end", reader.into()),
            ("a pipe's writing end", writer.into()),
        ];
        for (what, fd) in none {
            let mut listener = rt.listener_of(fd.into()).unwrap();
            let accepted = rt.timeout(SOON, listener.accept()).await.unwrap_or_else(|_| panic!("{what}: silence"));
            let error = accepted.map(drop).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
            assert!(error.to_string().contains("listen(2)"), "{what}: {error}");
        }
        assert_eq!(rt.stats().accept_pauses, 0);
        drop((stream, peer));
    });
}

/// The same error may come from a connection that failed while it was made: that passes.
fn an_error_that_passes_is_waited_out<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let (call, operation) =
            (first("accept4", 2, Verdict::Fail(EOPNOTSUPP)), first("op_accept", 2, Verdict::Fail(EOPNOTSUPP)));
        let judge = move |name, before| if name == "accept4" { call(name, before) } else { operation(name, before) };
        E::set_judge(rt, Some(Rc::new(judge)));
        let peer = std::net::TcpStream::connect(addr).unwrap();
        let stream = rt.timeout(SOON, listener.accept()).await.expect("it goes on").unwrap();
        assert_eq!(rt.stats().accept_pauses, 2);
        E::set_judge(rt, None);
        drop((stream, peer));
    });
}

fn says_the_remedy(what: &str, error: &std::io::Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}");
    let text = error.to_string();
    assert!(text.contains("empty buffer") && text.contains("vec![0; n]"), "{what}: {text}");
}

/// `Vec::with_capacity` is a mistake of programs that come from runtimes which fill the capacity.
fn a_buffer_without_room_is_named<E: Engine>() {
    run::<E>(async |rt| {
        let empty = || Vec::<u8>::with_capacity(100);
        let (mut stream, peer) = pair::<E>(rt).await;
        says_the_remedy("a stream", &stream.read(empty()).await.0.unwrap_err());
        let (mut reading, writing) = stream.split();
        says_the_remedy("a half", &reading.read(empty()).await.0.unwrap_err());
        let (reader, writer) = std::io::pipe().unwrap();
        let mut reader = rt.pipe_reader(reader).unwrap();
        says_the_remedy("a pipe", &reader.read(empty()).await.0.unwrap_err());
        says_the_remedy("the input", &rt.stdin().read(empty()).await.0.unwrap_err());
        drop((peer, writing, writer));
    });
}

fn a_buffer_without_room_is_named_by_files<E: Engine>() {
    run::<E>(async |rt| {
        let file = rt.file_from_std(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into());
        says_the_remedy("a file", &file.unwrap().read_at(Vec::with_capacity(100), 0).await.0.unwrap_err());
    });
}

/// O_NONBLOCK belongs to what duplicates share. One of them clears it; the loop is not stuck in a call because of that.
fn a_flag_that_a_duplicate_clears_blocks_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let block = |fd: &dyn AsFd| {
            let duplicate = std::net::TcpStream::from(fd.as_fd().try_clone_to_owned().unwrap());
            duplicate.set_nonblocking(false).unwrap();
        };
        let (mut stream, mut peer) = pair::<E>(rt).await;
        block(&stream);
        assert!(rt.timeout(ms(20), stream.recv()).await.is_err());
        assert!(rt.timeout(ms(20), stream.read(vec![0; 10])).await.is_err());
        peer.write_all(b"hello").unwrap();
        assert_eq!(recv_exactly(&mut stream, 5).await, b"hello");
        assert!(rt.timeout(ms(20), stream.recv()).await.is_err());
        let writing = rt.spawn(async move {
            stream.write_all(vec![1; 16 << 20]).await.0.unwrap();
            stream.write_all_vectored(vec![vec![2; 8 << 20], vec![3; 8 << 20]]).await.0.unwrap();
        });
        rt.sleep(ms(20)).await;
        assert!(!writing.is_finished());
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all.len()
        });
        writing.await.unwrap();
        assert_eq!(reader.join().unwrap(), 32 << 20);
        // Datagrams.
        let udp = rt.bind_udp(V4).unwrap();
        block(&udp);
        assert!(rt.timeout(ms(20), udp.recv_from()).await.is_err());
        let (here, there) = rt.unix_datagram_pair().unwrap();
        block(&here);
        let full = async { while here.send("x").await.0.is_ok() {} };
        assert!(rt.timeout(ms(50), full).await.is_err(), "it waits for room");
        there.recv().await.unwrap();
    });
}

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// One of many wakers, which are counted as long as they live.
struct Fresh;

impl Fresh {
    fn waker() -> Waker {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Arc::new(Fresh).into()
    }
}

impl Wake for Fresh {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Fresh {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Polls a future that has to wait with another waker each time. It keeps one, and none after its drop.
fn keeps_one_waker<F: Future>(what: &str, polls: usize, future: F) {
    {
        let mut future = pin!(future);
        for _ in 0..polls {
            let waker = Fresh::waker();
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "{what} was meant to wait");
        }
        let live = LIVE.load(Ordering::Relaxed);
        assert!(live <= 1, "{what} keeps {live} wakers after {polls} polls");
    }
    let live = LIVE.load(Ordering::Relaxed);
    assert_eq!(live, 0, "{what} keeps a waker after its drop");
}

fn a_future_keeps_one_waker<E: Engine>() {
    const POLLS: usize = 3000;
    run::<E>(async |rt| {
        let udp = rt.bind_udp(V4).unwrap();
        keeps_one_waker("recv_from", 100_000, udp.recv_from());
        keeps_one_waker("read_from", POLLS, udp.read_from(vec![0; 10]));
        let (here, there) = rt.unix_datagram_pair().unwrap();
        let full = async { while here.send("x").await.0.is_ok() {} };
        assert!(rt.timeout(ms(20), full).await.is_err(), "it waits for room");
        keeps_one_waker("send", 100_000, here.send("x"));
        let (mut stream, peer) = pair::<E>(rt).await;
        keeps_one_waker("recv", POLLS, stream.recv());
        keeps_one_waker("write_all", POLLS, stream.write_all(vec![0; 16 << 20]));
        let (mut listener, _) = listen(rt);
        keeps_one_waker("accept", POLLS, listener.accept());
        keeps_one_waker("sleep", POLLS, rt.sleep(Duration::from_secs(1000)));
        keeps_one_waker("stopped", POLLS, rt.stopped());
        let mut tasks = JoinSet::new();
        let task = rt.spawn(pending::<()>());
        tasks.add(rt.spawn(pending::<()>()));
        keeps_one_waker("join_next", POLLS, async move { tasks.join_next().await });
        let aborted = task.abort_handle();
        keeps_one_waker("a JoinHandle", POLLS, task);
        aborted.abort();
        let (end, wait) = mpsc::channel::<()>();
        keeps_one_waker("unblock", POLLS, rt.unblock(move || wait.recv().is_err()));
        drop((end, here, there, peer));
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        accepting_where_nothing_listens_is_an_error,
        an_error_that_passes_is_waited_out,
        a_flag_that_a_duplicate_clears_blocks_nothing,
    );
    on_every_engine!(
        suite,
        a_buffer_without_room_is_named,
        a_buffer_without_room_is_named_by_files,
        a_future_keeps_one_waker,
    );
    suite.run()
}

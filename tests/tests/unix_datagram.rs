//! Goal: a Unix datagram arrives once, in order, whole or with its loss told, with its sender's name if that has one; if
//! the receiver has no room its sender waits without holding or heating the loop; a future that is dropped takes no
//! datagram along; and what is wrong with an address is said.
//!
//! Method: sockets of the runtime against blocking ones of std. On every engine, with every fallback, and with tiny
//! queues. Whether a wait is a sleep is counted in turns of the loop, and in the processor time of all threads, those
//! of the kernel's workers with them.

use std::cell::Cell;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdSocket};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use executor::{LENT_DATAGRAM, Net, UnixDatagram, yield_now};
use rustix::time::{ClockId, clock_gettime};
use tests::net::Pattern;
use tests::{
    Bench, Engine, Suite, both, datagrams, elsewhere, is_closed, ms, on_every_variant, poll_idle, run, start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Longer than any buffer of the runtime's, and short enough for the buffer of the sender.
const LONG: usize = 200_000;
/// EINVAL.
const INVALID: i32 = 22;

type Socket<E> = UnixDatagram<<<E as Engine>::Rt as Net>::Port>;

/// A folder that goes with the test, and two paths in it.
fn paths() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    (folder, ours, theirs)
}

/// A name that no other test has.
fn abstract_name() -> String {
    format!("\0tests-{}", std::process::id())
}

fn addr(path: &std::path::Path) -> SocketAddr {
    SocketAddr::from_pathname(path).expect("it fits")
}

/// One that gives up in the end, instead of waiting for ever.
fn patient(peer: StdSocket) -> StdSocket {
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout for the peer");
    peer.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout for the peer");
    peer
}

fn each_arrives_whole_with_its_sender<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(1);
        let (_folder, ours, theirs) = paths();
        let name = abstract_name();
        let named = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        for (socket, to) in
            [(rt.bind_unix_datagram(&ours).unwrap(), addr(&ours)), (rt.bind_unix_datagram(&name).unwrap(), named)]
        {
            assert_eq!(format!("{:?}", socket.local_addr().unwrap()), format!("{to:?}"));
            let by_name = SocketAddr::from_abstract_name(format!("tests-peer-{}", std::process::id())).unwrap();
            let by_name = StdSocket::bind_addr(&by_name).unwrap();
            let by_path = StdSocket::bind(&theirs).unwrap();
            for peer in [by_name, by_path].map(patient) {
                let its = peer.local_addr().unwrap();
                for len in [0, 1, 1400, LENT_DATAGRAM - 1, LENT_DATAGRAM, 0, 17, 0, 0] {
                    peer.send_to_addr(&pattern.bytes(len, len), &to).unwrap();
                    let datagram = socket.recv_from().await.unwrap();
                    assert_eq!((datagram.len, datagram.bytes.len(), datagram.is_cut()), (len, len, false));
                    assert_eq!(datagram.from.as_pathname(), its.as_pathname());
                    assert_eq!(datagram.from.as_abstract_name(), its.as_abstract_name());
                    pattern.check(len, &datagram.bytes);
                    socket.send_to(datagram.bytes, datagram.from).await.0.unwrap();
                    let mut echoed = vec![0; len + 1];
                    let (count, from) = peer.recv_from(&mut echoed).unwrap();
                    assert_eq!((count, format!("{from:?}")), (len, format!("{to:?}")));
                    pattern.check(len, &echoed[..len]);
                }
            }
            std::fs::remove_file(&theirs).unwrap();
        }
    });
}

/// Not to be confused with the end of the socket, also if it says nothing.
fn who_has_no_name_cant_be_answered<E: Engine>() {
    run::<E>(async |rt| {
        let (_folder, ours, _) = paths();
        let socket = rt.bind_unix_datagram(&ours).unwrap();
        let nameless = Socket::<E>::from_std(rt, StdSocket::unbound().unwrap()).unwrap();
        assert!(nameless.local_addr().unwrap().is_unnamed());
        for text in ["who am I?", "", "", "guess"] {
            nameless.send_to(text, addr(&ours)).await.0.unwrap();
            let datagram = socket.recv_from().await.unwrap();
            assert_eq!((&*datagram.bytes, datagram.from.is_unnamed()), (text.as_bytes(), true));
            let (result, bytes) = socket.send_to(datagram.bytes, datagram.from).await;
            assert_eq!((result.unwrap_err().raw_os_error(), &*bytes), (Some(INVALID), text.as_bytes()));
            nameless.send_to(text, addr(&ours)).await.0.unwrap();
            let (result, _) = socket.read_from(vec![0; 100]).await;
            let (len, from) = result.unwrap();
            assert_eq!((len, from.is_unnamed()), (text.len(), true));
        }
    });
}

/// Nothing is cut without a word, and what comes next is whole.
fn what_is_cut_is_told<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(3);
        let (_folder, ours, theirs) = paths();
        let socket = rt.bind_unix_datagram(&ours).unwrap();
        let peer = patient(StdSocket::bind(&theirs).unwrap());
        let send = |len| assert_eq!(peer.send_to(&pattern.bytes(0, len), &ours).unwrap(), len);
        datagrams::what_is_cut_is_told(&socket, &pattern, LONG, send).await;
    });
}

/// In the program's own buffer, there and back, also what is longer than any of UDP.
fn the_long_ones<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(2);
        let (_folder, ours, theirs) = paths();
        let socket = rt.bind_unix_datagram(&ours).unwrap();
        let peer = patient(StdSocket::bind(&theirs).unwrap());
        for len in [LONG, 0, LENT_DATAGRAM + 1, 70_000, 1] {
            peer.send_to(&pattern.bytes(len, len), &ours).unwrap();
            let (result, bytes) = socket.read_from(vec![0xaa; LONG]).await;
            let (received, from) = result.unwrap();
            assert_eq!((received, from.as_pathname()), (len, Some(&*theirs)));
            pattern.check(len, &bytes[..len]);
            assert!(bytes[len..].iter().all(|byte| *byte == 0xaa), "beyond what it says");
            socket.send_to(bytes[..len].to_vec(), from).await.0.unwrap();
            let mut echoed = vec![0; LONG];
            assert_eq!(peer.recv(&mut echoed).unwrap(), len);
            pattern.check(len, &echoed[..len]);
        }
        peer.send_to(&pattern.bytes(0, LONG), &ours).unwrap();
        let (result, bytes) = socket.read_from(vec![0; 7]).await;
        assert_eq!(result.unwrap().0, LONG);
        pattern.check(0, &bytes);
        let limit = socket2::SockRef::from(&socket).send_buffer_size().unwrap();
        for error in [
            socket.send_to(vec![1; limit], addr(&theirs)).await.0.unwrap_err(),
            rt.unix_datagram_pair().unwrap().0.send(vec![1; limit]).await.0.unwrap_err(),
        ] {
            assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE");
        }
    });
}

/// Both ways at a time, both ways of sending: all arrive, in order, though neither side has room for more than some.
fn thousands_arrive_in_order<E: Engine>() {
    const MANY: u32 = 2_000;
    run::<E>(async |rt| {
        for is_connected in [true, false] {
            let (_folder, ours, theirs) = paths();
            let socket = Rc::new(rt.bind_unix_datagram(&ours).unwrap());
            let peer = patient(StdSocket::bind(&theirs).unwrap());
            let reader = peer.try_clone().unwrap();
            if is_connected {
                peer.connect(&ours).unwrap();
                socket.connect(addr(&theirs)).unwrap();
            }
            let writer = std::thread::spawn(move || {
                for number in 0..MANY {
                    match is_connected {
                        true => peer.send(&number.to_le_bytes()).unwrap(),
                        false => peer.send_to(&number.to_le_bytes(), &ours).unwrap(),
                    };
                }
            });
            let reader = rt.spawn(elsewhere(move || {
                for number in 0..MANY {
                    let mut word = [0; 5];
                    assert_eq!(reader.recv(&mut word).unwrap(), 4);
                    assert_eq!(word[..4], number.to_le_bytes());
                }
            }));
            let sender = Rc::clone(&socket);
            let sender = rt.spawn(async move {
                for number in 0..MANY {
                    let (bytes, to) = (number.to_le_bytes().to_vec(), addr(&theirs));
                    match is_connected {
                        true => sender.send(bytes).await.0.unwrap(),
                        false => sender.send_to(bytes, to).await.0.unwrap(),
                    }
                }
            });
            for number in 0..MANY {
                assert_eq!(*socket.recv().await.unwrap(), number.to_le_bytes());
            }
            sender.await.unwrap();
            reader.await.unwrap();
            writer.join().unwrap();
        }
    });
}

/// Fills the queue of whoever is bound there, from elsewhere; how many that took.
fn fill(path: &std::path::Path) -> usize {
    let socket = StdSocket::unbound().unwrap();
    socket.set_nonblocking(true).unwrap();
    let count = (0..).take_while(|_| socket.send_to(b"filling", path).is_ok()).count();
    assert!(count > 0);
    count
}

/// Of the whole process.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// The queue is full of what others sent, so no event of the sender's own helps it.
fn a_full_queue_is_waited_for<E: Engine>() {
    const WAIT: Duration = ms(150);
    run::<E>(async |rt| {
        for is_connected in [true, false] {
            let (_folder, ours, theirs) = paths();
            let peer = patient(StdSocket::bind(&theirs).unwrap());
            let filling = fill(&theirs);
            let socket = rt.bind_unix_datagram(&ours).unwrap();
            let to = addr(&theirs);
            if is_connected {
                socket.connect(to.clone()).unwrap();
            }
            let is_sent = Rc::new(Cell::new(0));
            let count = Rc::clone(&is_sent);
            let sender = rt.spawn(async move {
                for number in 0..30_u8 {
                    let (sent, buffer) = match is_connected {
                        true => socket.send(vec![number]).await,
                        false => socket.send_to(vec![number], to.clone()).await,
                    };
                    sent.unwrap();
                    assert_eq!(buffer, [number]);
                    count.set(count.get() + 1);
                }
            });
            // Until it has begun, and met the end of the queue.
            rt.sleep(ms(5)).await;
            let (turns, used) = (rt.stats().turns, processor_time());
            rt.sleep(WAIT).await;
            let (turns, used) = (rt.stats().turns - turns, processor_time() - used);
            assert_eq!(is_sent.get(), 0, "there was no room");
            assert!(turns <= 40, "{turns} turns in one wait");
            assert!(used < WAIT / 2, "{used:?} of processor time in a wait of {WAIT:?}");
            let received = elsewhere(move || {
                let mut buffer = [0; 100];
                (0..filling + 30).map(|_| (peer.recv(&mut buffer).unwrap(), buffer[0])).collect::<Vec<_>>()
            });
            let (received, sent) = both(received, sender).await;
            sent.unwrap();
            assert!(received[..filling].iter().all(|(len, first)| (*len, *first) == (7, b'f')));
            assert_eq!(received[filling..], (0..30).map(|number| (1, number)).collect::<Vec<_>>());
        }
    });
}

/// One that waits is dropped; what it would have sent is sent as a whole or not at all, and the socket goes on.
fn dropped_sends_leave_no_trace<E: Engine>() {
    run::<E>(async |rt| {
        for is_connected in [true, false] {
            let (_folder, ours, theirs) = paths();
            let peer = patient(StdSocket::bind(&theirs).unwrap());
            let socket = rt.bind_unix_datagram(&ours).unwrap();
            let to = addr(&theirs);
            if is_connected {
                socket.connect(to.clone()).unwrap();
            }
            let filling = fill(&theirs);
            for _ in 0..10 {
                match is_connected {
                    true => start_then_drop(socket.send(vec![7; 50]), rt.sleep(ms(2))).await,
                    false => start_then_drop(socket.send_to(vec![7; 50], to.clone()), rt.sleep(ms(2))).await,
                }
            }
            let last = async {
                match is_connected {
                    true => socket.send("the last").await.0.unwrap(),
                    false => socket.send_to("the last", to).await.0.unwrap(),
                }
            };
            let received = elsewhere(move || {
                let mut buffer = [0; 100];
                let next = || peer.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap();
                let all: Vec<_> = std::iter::repeat_with(next).take_while(|text| text != b"the last").collect();
                all
            });
            let (received, ()) = both(received, last).await;
            assert!(received[..filling].iter().all(|text| text == b"filling"));
            assert!(received[filling..].iter().all(|text| *text == [7; 50]), "{received:?}");
        }
    });
}

fn dropped_receives_lose_none<E: Engine>() {
    run::<E>(async |rt| {
        let (socket, peer) = StdSocket::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let socket = Socket::<E>::from_std(rt, socket).unwrap();
        let send = |number: u32, _received| peer.send(&number.to_le_bytes()).is_ok();
        datagrams::dropped_receives_lose_none(rt, &socket, LONG, send).await;
    });
}

/// A pair bounds what is under way by the sender's buffer instead of the receiver's queue.
fn a_pair_goes_both_ways<E: Engine>() {
    const MANY: usize = 300;
    run::<E>(async |rt| {
        let pattern = Pattern::new(5);
        let (one, other) = rt.unix_datagram_pair().unwrap();
        assert!(one.local_addr().unwrap().is_unnamed() && one.peer_addr().unwrap().is_unnamed());
        let flow = async |from: &Socket<E>, to: &Socket<E>| {
            let send = async {
                for number in 0..MANY {
                    from.send(pattern.bytes(number, 5_000 + number)).await.0.unwrap();
                }
            };
            let receive = async {
                for number in 0..MANY {
                    let bytes = to.recv().await.unwrap();
                    assert_eq!(bytes.len(), 5_000 + number);
                    pattern.check(number, &bytes);
                }
            };
            both(send, receive).await
        };
        both(flow(&one, &other), flow(&other, &one)).await;
        // The buffer is full: a sender that waits finds out that the other end is gone.
        let (sent, ()) = both(
            async {
                loop {
                    if let Err(error) = one.send(vec![1; 10_000]).await.0 {
                        break error;
                    }
                }
            },
            async {
                rt.sleep(ms(5)).await;
                other.close().await.unwrap();
            },
        )
        .await;
        assert!(matches!(sent.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset), "{sent}");
    });
}

fn who_is_not_there_is_said<E: Engine>() {
    run::<E>(async |rt| {
        let (_folder, ours, theirs) = paths();
        let socket = rt.bind_unix_datagram(&ours).unwrap();
        assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(socket.send("to nobody").await.0.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(socket.connect(addr(&theirs)).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(socket.send_to("to nobody", addr(&theirs)).await.0.unwrap_err().kind(), ErrorKind::NotFound);
        drop(StdSocket::bind(&theirs).unwrap());
        assert_eq!(socket.connect(addr(&theirs)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (result, text) = socket.send_to("to nobody", addr(&theirs)).await;
        assert_eq!((result.unwrap_err().kind(), text), (ErrorKind::ConnectionRefused, "to nobody"));
        std::fs::remove_file(&theirs).unwrap();
        // Somebody was there, and has no room, and goes: told to those who wait, in both ways.
        for is_connected in [true, false] {
            let peer = StdSocket::bind(&theirs).unwrap();
            fill(&theirs);
            let (_folder, third, _) = paths();
            let socket = rt.bind_unix_datagram(&third).unwrap();
            if is_connected {
                socket.connect(addr(&theirs)).unwrap();
            }
            let (sent, ()) = both(
                async {
                    match is_connected {
                        true => socket.send("still there?").await.0,
                        false => socket.send_to("still there?", addr(&theirs)).await.0,
                    }
                },
                async {
                    rt.sleep(ms(5)).await;
                    drop(peer);
                },
            )
            .await;
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            std::fs::remove_file(&theirs).unwrap();
        }
    });
}

/// Who is connected hears of its peer only.
fn strangers_are_refused_by_the_connected<E: Engine>() {
    run::<E>(async |rt| {
        let (_folder, ours, theirs) = paths();
        let (one, other) = (rt.bind_unix_datagram(&ours).unwrap(), rt.bind_unix_datagram(&theirs).unwrap());
        one.connect(addr(&theirs)).unwrap();
        other.connect(addr(&ours)).unwrap();
        assert_eq!(one.peer_addr().unwrap().as_pathname(), Some(&*theirs));
        let stranger = Socket::<E>::from_std(rt, StdSocket::unbound().unwrap()).unwrap();
        let (result, _) = stranger.send_to("from a stranger", addr(&ours)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
        for round in 0..100_u8 {
            one.send(vec![round; 100]).await.0.unwrap();
            let datagram = other.recv_from().await.unwrap();
            assert_eq!((&*datagram.bytes, datagram.from.as_pathname()), (&[round; 100][..], Some(&*ours)));
            other.send(datagram.bytes).await.0.unwrap();
            assert_eq!(&*one.recv().await.unwrap(), [round; 100]);
        }
    });
}

/// Tasks that share a socket get all that comes, one each, and none is forgotten when another leaves.
fn many_tasks_share_a_socket<E: Engine>() {
    const TASKS: u8 = 8;
    run::<E>(async |rt| {
        let (one, other) = rt.unix_datagram_pair().unwrap();
        let other = Rc::new(other);
        for _ in 0..20 {
            let receivers: Vec<_> = (0..TASKS)
                .map(|_| {
                    let other = Rc::clone(&other);
                    rt.spawn(async move { other.recv_from().await.unwrap().bytes[0] })
                })
                .collect();
            yield_now().await;
            receivers[usize::from(TASKS) - 1].abort();
            receivers[usize::from(TASKS) / 2].abort();
            for number in 0..TASKS - 2 {
                one.send(vec![number]).await.0.unwrap();
            }
            let mut numbers = Vec::new();
            for receiver in receivers {
                numbers.extend(receiver.await);
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..6).collect::<Vec<u8>>());
        }
    });
}

/// Several that wait for room in one queue: each gets some, and all that they send arrives.
fn many_senders_share_a_queue<E: Engine>() {
    const EACH: u8 = 40;
    run::<E>(async |rt| {
        let (_folder, ours, _) = paths();
        let socket = rt.bind_unix_datagram(&ours).unwrap();
        let senders: Vec<_> = (0..6_u8)
            .map(|sender| {
                let (handle, to) = (rt.clone(), addr(&ours));
                rt.spawn(async move {
                    let socket = Socket::<E>::from_std(&handle, StdSocket::unbound().unwrap()).unwrap();
                    if sender % 2 == 0 {
                        socket.connect(to.clone()).unwrap();
                    }
                    for number in 0..EACH {
                        let (sent, _) = match sender % 2 {
                            0 => socket.send(vec![sender, number]).await,
                            _ => socket.send_to(vec![sender, number], to.clone()).await,
                        };
                        sent.unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; 6];
        for _ in 0..6 * u32::from(EACH) {
            let bytes = socket.recv().await.unwrap();
            let [sender, number] = *bytes else { panic!("{bytes:?}") };
            assert_eq!(number, next[usize::from(sender)], "of {sender}");
            next[usize::from(sender)] += 1;
        }
        for sender in senders {
            sender.await.unwrap();
        }
    });
}

fn what_is_wrong_with_a_path_is_said<E: Engine>() {
    run::<E>(async |rt| {
        let (folder, ours, _) = paths();
        let room = 107 - folder.path().as_os_str().len() - 1;
        let longest = folder.path().join("x".repeat(room));
        let socket = rt.bind_unix_datagram(&longest).unwrap();
        let sender = rt.bind_unix_datagram(&ours).unwrap();
        sender.send_to("a long way", addr(&longest)).await.0.unwrap();
        assert_eq!(&*socket.recv().await.unwrap(), b"a long way");
        let longer = folder.path().join("x".repeat(room + 1));
        let error = rt.bind_unix_datagram(&longer).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().starts_with("a path of 108 bytes"));
        assert_eq!(rt.bind_unix_datagram("").unwrap_err().kind(), ErrorKind::InvalidInput);
        let error = rt.bind_unix_datagram(&ours).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(text.starts_with(ours.to_str().unwrap()) && text.ends_with("remove it"), "{text}");
    });
}

/// Also with a receive under way that nobody waits for.
fn a_closed_socket_frees_its_name<E: Engine>() {
    run::<E>(async |rt| {
        let name = abstract_name();
        for round in 0..50 {
            let socket = rt.bind_unix_datagram(&name).expect("the name is free");
            if round % 2 == 0 {
                start_then_drop(socket.recv_from(), yield_now()).await;
            }
            socket.close().await.unwrap();
        }
    });
}

fn sockets_come_from_std_and_go_there<E: Engine>() {
    run::<E>(async |rt| {
        for is_nonblocking in [false, true] {
            let (one, other) = StdSocket::pair().unwrap();
            one.set_nonblocking(is_nonblocking).unwrap();
            let socket = Socket::<E>::from_std(rt, one).unwrap();
            let (received, ()) = both(socket.recv_from(), async {
                yield_now().await;
                other.send(b"hello").unwrap();
            })
            .await;
            assert!(received.unwrap().from.is_unnamed());
            start_then_drop(socket.recv_from(), yield_now()).await;
            let std = socket.into_std().await.unwrap();
            let text = elsewhere(move || {
                let mut text = [0; 10];
                let count = std.recv(&mut text).expect("it blocks until there is something");
                text[..count].to_vec()
            });
            let (text, ()) = both(text, async {
                yield_now().await;
                other.send(b"world").unwrap();
            })
            .await;
            assert_eq!(text, b"world");
        }
    });
}

/// Whoever waits at the end of the runtime is told, and so is who comes later.
fn the_end_of_the_runtime<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let (_folder, ours, theirs) = paths();
    let peer = StdSocket::bind(&theirs).unwrap();
    fill(&theirs);
    let rt = bench.handle();
    let socket = rt.bind_unix_datagram(&ours).unwrap();
    let waiting = bench.handle().bind_unix_datagram(abstract_name()).unwrap();
    let to = addr(&theirs);
    drop(rt.spawn(async move { waiting.send_to("never", addr(&theirs)).await.0 }));
    bench.rt().block_on(start_then_drop(socket.recv_from(), yield_now()));
    bench.end();
    let received = poll_idle(&mut pin!(socket.recv_from()));
    assert!(matches!(received, Poll::Ready(Err(error)) if is_closed(&error)));
    let sent = poll_idle(&mut pin!(socket.send_to(vec![1, 2, 3], to)));
    assert!(matches!(sent, Poll::Ready((Err(error), buf)) if is_closed(&error) && buf == [1, 2, 3]));
    assert!(is_closed(&rt.unix_datagram_pair().unwrap_err()));
    drop((socket, peer, rt));
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        each_arrives_whole_with_its_sender,
        who_has_no_name_cant_be_answered,
        what_is_cut_is_told,
        the_long_ones,
        thousands_arrive_in_order,
        a_full_queue_is_waited_for,
        dropped_sends_leave_no_trace,
        dropped_receives_lose_none,
        a_pair_goes_both_ways,
        who_is_not_there_is_said,
        strangers_are_refused_by_the_connected,
        many_tasks_share_a_socket,
        many_senders_share_a_queue,
        what_is_wrong_with_a_path_is_said,
        a_closed_socket_frees_its_name,
        sockets_come_from_std_and_go_there,
        the_end_of_the_runtime,
    );
    suite.run()
}

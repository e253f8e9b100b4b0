//! Goal: a datagram that the kernel has taken arrives once, whole or with its loss told, with its sender; a future that
//! is dropped takes none along; a burst that nobody reads stays bounded; and a socket that is closed frees its address.
//!
//! Method: sockets of the runtime against blocking ones of std, over loopback, which loses nothing as long as the
//! receiver's buffer has room. On every engine, with every fallback, and with tiny queues.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use executor::{IoBuf, LENT_DATAGRAM, Net, UdpSocket, yield_now};
use tests::net::{Pattern, V4, V6};
use tests::{
    Bench, Engine, Suite, datagrams, elsewhere, is_closed, ms, on_every_variant, poll_idle, poll_once, run,
    start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// The longest datagram of IPv4.
const LONGEST: usize = 65_507;

type Udp<E> = UdpSocket<<<E as Engine>::Rt as Net>::Port>;

/// A socket of the engine, its address, and a blocking one of std.
fn socket_and_peer<E: Engine>(rt: &E::Rt) -> (Udp<E>, SocketAddr, StdSocket) {
    let socket = rt.bind_udp(V4).expect("bind");
    let addr = socket.local_addr().expect("local_addr");
    let peer = StdSocket::bind(V4).expect("bind");
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout for the peer");
    (socket, addr, peer)
}

fn each_arrives_whole_with_its_sender<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(1);
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        for len in [0, 1, 2, 1400, 4096, 9000, LENT_DATAGRAM - 1, LENT_DATAGRAM, 0, 17, 0, 0] {
            peer.send_to(&pattern.bytes(len, len), addr).unwrap();
            let datagram = socket.recv_from().await.unwrap();
            assert_eq!((datagram.len, datagram.is_cut()), (len, false));
            assert_eq!(datagram.from, peer.local_addr().unwrap());
            pattern.check(len, datagram.bytes.bytes());
            assert_eq!(datagram.bytes.len(), len);
            let (sent, _) = socket.send_to(datagram.bytes, datagram.from).await;
            sent.unwrap();
            let mut echoed = vec![0; len + 1];
            assert_eq!(peer.recv_from(&mut echoed).unwrap(), (len, addr));
            pattern.check(len, &echoed[..len]);
        }
    });
}

/// There and back in the program's own buffer.
fn the_longest_there_is<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(2);
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        for len in [LONGEST, 0, LENT_DATAGRAM + 1, 1, LONGEST - 1] {
            peer.send_to(&pattern.bytes(len, len), addr).unwrap();
            let (result, bytes) = socket.read_from(vec![0xaa; LONGEST]).await;
            assert_eq!(result.unwrap(), (len, peer.local_addr().unwrap()));
            pattern.check(len, &bytes[..len]);
            assert!(bytes[len..].iter().all(|byte| *byte == 0xaa), "beyond what it says");
            socket.send_to(bytes.slice(0..len), peer.local_addr().unwrap()).await.0.unwrap();
            let mut echoed = vec![0; LONGEST + 1];
            assert_eq!(peer.recv(&mut echoed).unwrap(), len);
            pattern.check(len, &echoed[..len]);
        }
        let (result, buffer) = socket.send_to(vec![1; LONGEST + 1], peer.local_addr().unwrap()).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(90), "EMSGSIZE");
        assert_eq!(buffer.len(), LONGEST + 1, "the buffer comes back");
    });
}

/// Nothing is cut without a word, and what comes next is whole.
fn what_is_cut_is_told<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(3);
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        let send = |len| assert_eq!(peer.send_to(&pattern.bytes(0, len), addr).unwrap(), len);
        datagrams::what_is_cut_is_told(&socket, &pattern, LONGEST, send).await;
        send(100);
        let (result, bytes) = socket.read_from(vec![0; 7]).await;
        assert_eq!(result.unwrap().0, 100);
        pattern.check(0, &bytes);
        send(100);
        let (result, _) = socket.read_from(vec![]).await;
        assert_eq!(result.unwrap().0, 100, "also of one that is thrown away");
        send(3);
        assert_eq!(socket.recv_from().await.unwrap().len, 3);
    });
}

fn ipv6_and_the_connected<E: Engine>() {
    run::<E>(async |rt| {
        let (one, other) = (rt.bind_udp(V6).unwrap(), rt.bind_udp(V6).unwrap());
        assert_eq!(one.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        let (result, text) = one.send("to nobody").await;
        assert!(matches!(result.unwrap_err().raw_os_error(), Some(89 | 107)), "EDESTADDRREQ, ENOTCONN");
        assert_eq!(text, "to nobody");
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        assert_eq!(one.peer_addr().unwrap(), other.local_addr().unwrap());
        let stranger = StdSocket::bind(V6).unwrap();
        stranger.send_to(b"from a stranger", one.local_addr().unwrap()).unwrap();
        for round in 0..100_u8 {
            one.send(vec![round; 100]).await.0.unwrap();
            let datagram = other.recv_from().await.unwrap();
            assert_eq!((&*datagram.bytes, datagram.from), (&[round; 100][..], one.local_addr().unwrap()));
            other.send(datagram.bytes).await.0.unwrap();
            assert_eq!(&*one.recv().await.unwrap(), [round; 100]);
        }
    });
}

/// As many at a time as a socket's buffer holds for certain.
const WINDOW: u32 = 50;

fn thousands_arrive_in_order<E: Engine>() {
    const MANY: u32 = 2_000;
    run::<E>(async |rt| {
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        let sender = elsewhere(move || {
            let mut word = [0; 4];
            for number in 0..MANY {
                if number >= WINDOW {
                    peer.recv(&mut word).unwrap();
                    assert_eq!(u32::from_le_bytes(word), number - WINDOW);
                }
                peer.send_to(&number.to_le_bytes(), addr).unwrap();
            }
        });
        let receiver = rt.spawn(async move {
            for number in 0..MANY {
                let datagram = socket.recv_from().await.unwrap();
                assert_eq!(*datagram.bytes, number.to_le_bytes());
                socket.send_to(datagram.bytes, datagram.from).await.0.unwrap();
            }
        });
        sender.await;
        receiver.await.unwrap();
    });
}

/// What the network says of a datagram that found nobody comes back once, and harms nothing.
fn a_refusal_is_told_and_passes<E: Engine>() {
    run::<E>(async |rt| {
        for _ in 0..20 {
            let (socket, addr, peer) = socket_and_peer::<E>(rt);
            let gone = peer.local_addr().unwrap();
            drop(peer);
            socket.connect(gone).unwrap();
            {
                let mut receiving = pin!(socket.recv_from());
                assert!(poll_once(&mut receiving).await.is_none());
                socket.send("is anybody there?").await.0.unwrap();
                assert_eq!(receiving.await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            }
            let peer = StdSocket::bind(gone).unwrap();
            socket.send("now?").await.0.unwrap();
            let mut text = [0; 10];
            assert_eq!(peer.recv_from(&mut text).unwrap(), (4, addr));
            peer.send_to(b"yes", addr).unwrap();
            assert_eq!(&*socket.recv().await.unwrap(), b"yes");
        }
    });
}

fn dropped_futures_lose_none<E: Engine>() {
    run::<E>(async |rt| {
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        let send = |number: u32, received| {
            number - received < WINDOW && {
                peer.send_to(&number.to_le_bytes(), addr).unwrap();
                true
            }
        };
        datagrams::dropped_receives_lose_none(rt, &socket, LONGEST, send).await;
    });
}

/// The runtime takes a bounded number; the kernel keeps what fits the socket's buffer, and drops the others.
fn a_burst_nobody_reads_stays_bounded<E: Engine>() {
    const MANY: u32 = 3_000;
    run::<E>(async |rt| {
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        start_then_drop(socket.recv_from(), yield_now()).await;
        let mut most = 0;
        for number in 0..MANY {
            peer.send_to(&number.to_le_bytes(), addr).unwrap();
            if number % 10 == 0 {
                yield_now().await;
                rt.sleep(Duration::from_micros(1)).await;
                most = most.max(rt.stats().driver.chunks_lent_now);
            }
        }
        rt.sleep(ms(1)).await;
        most = most.max(rt.stats().driver.chunks_lent_now);
        // The receive is stopped at 16, and less than two rounds come before the kernel has heard of it. (Not stopped, it
        // would take the whole pool, which has 64 to begin with.)
        assert!(most <= 40, "{most} chunks");
        let (mut count, mut next) = (0, 0);
        loop {
            // Until there is room for the mark behind them: the first time the buffer may still be full.
            if count % WINDOW == 0 {
                peer.send_to(b"the end", addr).unwrap();
            }
            let datagram = socket.recv_from().await.unwrap();
            let Ok(number) = <[u8; 4]>::try_from(&*datagram.bytes) else { break };
            let number = u32::from_le_bytes(number);
            assert!(number >= next, "{number} after {next}");
            (count, next) = (count + 1, number + 1);
        }
        assert!(count >= WINDOW, "only {count}");
        peer.send_to(b"and on", addr).unwrap();
        while &*socket.recv().await.unwrap() != b"and on" {}
    });
}

/// Tasks that share a socket get all that comes, one each, and none is forgotten when another leaves.
fn many_tasks_share_a_socket<E: Engine>() {
    const TASKS: usize = 8;
    run::<E>(async |rt| {
        let (socket, addr, peer) = socket_and_peer::<E>(rt);
        let socket = Rc::new(socket);
        for _ in 0..20 {
            let receivers: Vec<_> = (0..TASKS)
                .map(|_| {
                    let socket = Rc::clone(&socket);
                    rt.spawn(async move { socket.recv_from().await.unwrap().bytes[0] })
                })
                .collect();
            yield_now().await;
            // The last that began to wait, of whom the port knows, and one in the middle go away.
            receivers[TASKS - 1].abort();
            receivers[TASKS / 2].abort();
            for number in 0..TASKS - 2 {
                peer.send_to(&[u8::try_from(number).unwrap()], addr).unwrap();
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

/// One task sends and another receives, on one socket, at the same time: neither keeps the other waiting.
fn two_tasks_share_the_directions_of_a_socket<E: Engine>() {
    const MANY: u32 = 1_000;
    run::<E>(async |rt| {
        let (socket, _, peer) = socket_and_peer::<E>(rt);
        let (receiving, to) = (Rc::new(socket), peer.local_addr().unwrap());
        let sending = Rc::clone(&receiving);
        let echo = elsewhere(move || {
            let mut word = [0; 8];
            for _ in 0..MANY {
                let (len, from) = peer.recv_from(&mut word).unwrap();
                peer.send_to(&word[..len], from).unwrap();
            }
        });
        let received = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&received);
        let receiver = rt.spawn(async move {
            for number in 0..MANY {
                assert_eq!(*receiving.recv().await.unwrap(), number.to_le_bytes());
                count.set(number + 1);
            }
        });
        let send = async {
            for number in 0..MANY {
                while number - received.get() >= WINDOW {
                    yield_now().await;
                }
                sending.send_to(number.to_le_bytes().to_vec(), to).await.0.unwrap();
            }
        };
        tests::both(echo, send).await;
        receiver.await.unwrap();
    });
}

/// Also with a receive under way that nobody waits for.
fn a_closed_socket_frees_its_address<E: Engine>() {
    run::<E>(async |rt| {
        let mut addr = V4;
        for round in 0..100 {
            let socket = rt.bind_udp(addr).expect("the address is free");
            addr = socket.local_addr().unwrap();
            if round % 2 == 0 {
                start_then_drop(socket.recv_from(), yield_now()).await;
            }
            socket.close().await.unwrap();
        }
        let socket = rt.bind_udp(addr).unwrap();
        start_then_drop(socket.recv_from(), yield_now()).await;
        drop(socket);
        // Dropped, it may take the proactor a turn.
        while rt.bind_udp(addr).is_err() {
            yield_now().await;
        }
    });
}

fn sockets_come_from_std_and_go_there<E: Engine>() {
    run::<E>(async |rt| {
        for is_nonblocking in [false, true] {
            let (one, other) = (StdSocket::bind(V4).unwrap(), StdSocket::bind(V4).unwrap());
            one.set_nonblocking(is_nonblocking).unwrap();
            let (addr, from) = (one.local_addr().unwrap(), other.local_addr().unwrap());
            let socket = Udp::<E>::from_std(rt, one).unwrap();
            assert_eq!(socket.local_addr().unwrap(), addr);
            let (received, ()) = tests::both(socket.recv_from(), async {
                yield_now().await;
                other.send_to(b"hello", addr).unwrap();
            })
            .await;
            assert_eq!(received.unwrap().from, from);
            start_then_drop(socket.recv_from(), yield_now()).await;
            let std = socket.into_std().await.unwrap();
            let text = elsewhere(move || {
                let mut text = [0; 10];
                let (count, _) = std.recv_from(&mut text).expect("it blocks until there is something");
                text[..count].to_vec()
            });
            let (text, ()) = tests::both(text, async {
                yield_now().await;
                other.send_to(b"world", addr).unwrap();
            })
            .await;
            assert_eq!(text, b"world");
        }
    });
}

/// Whoever waits at the end of the runtime is told, and so is who comes later.
fn the_end_of_the_runtime<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let (socket, _, peer) = socket_and_peer::<E>(bench.rt());
    let to = peer.local_addr().unwrap();
    bench.rt().block_on(start_then_drop(socket.recv_from(), yield_now()));
    bench.end();
    let received = poll_idle(&mut pin!(socket.recv_from()));
    assert!(matches!(received, Poll::Ready(Err(error)) if is_closed(&error)));
    let sent = poll_idle(&mut pin!(socket.send_to(vec![1, 2, 3], to)));
    assert!(matches!(sent, Poll::Ready((Err(error), buf)) if is_closed(&error) && buf == [1, 2, 3]));
    assert!(is_closed(&bench.handle().bind_udp(V4).unwrap_err()));
    drop((socket, peer));
    bench.finish();
}

/// One of two receivers is leaked, or is not polled for a while. The datagram goes to the other.
fn a_receiver_that_is_leaked_or_idle_keeps_no_other_waiting<E: Engine>() {
    for is_leaked in [false, true] {
        run::<E>(async |rt| {
            let (socket, addr, peer) = socket_and_peer::<E>(rt);
            let socket = Rc::new(socket);
            let shared = Rc::clone(&socket);
            let waiting = rt.spawn(async move { shared.recv().await.map(|bytes| bytes.len()) });
            yield_now().await;
            let mut idle = Box::pin(socket.recv());
            assert!(poll_once(&mut idle).await.is_none());
            rt.sleep(ms(2)).await;
            peer.send_to(b"hello", addr).unwrap();
            let received = rt.timeout(Duration::from_secs(20), waiting).await.expect("the other receiver is deaf");
            assert_eq!(received.unwrap().unwrap(), 5);
            if is_leaked { std::mem::forget(idle) } else { drop(idle) }
        });
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        each_arrives_whole_with_its_sender,
        the_longest_there_is,
        what_is_cut_is_told,
        ipv6_and_the_connected,
        thousands_arrive_in_order,
        a_refusal_is_told_and_passes,
        dropped_futures_lose_none,
        a_burst_nobody_reads_stays_bounded,
        many_tasks_share_a_socket,
        two_tasks_share_the_directions_of_a_socket,
        a_receiver_that_is_leaked_or_idle_keeps_no_other_waiting,
        a_closed_socket_frees_its_address,
        sockets_come_from_std_and_go_there,
        the_end_of_the_runtime,
    );
    suite.run()
}

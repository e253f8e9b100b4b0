//! Goal: an error that stays until the program itself takes it away (an entry in the error queue of a socket) keeps no
//! processor busy, and keeps nothing from arriving.
//!
//! Method: a UDP socket with IP_RECVERR, errors that nothing reads, and a task that receives. Turns are counted, not time.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{Net, UdpSocket};
use tests::net::V4;
use tests::{Engine, Suite, ms, on_every_fallback, run};

type Udp<E> = UdpSocket<<<E as Engine>::Rt as Net>::Port>;

/// Has errors of the network kept in the socket's queue.
fn keep_errors(socket: &StdSocket) {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap();
    // SAFETY: the value is an int that lives through the call, and `size` is its size.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, (&raw const on).cast(), size) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// An address that nothing is bound to.
fn nowhere() -> SocketAddr {
    StdSocket::bind(V4).unwrap().local_addr().unwrap()
}

fn an_unread_error_keeps_nothing_busy<E: Engine>() {
    run::<E>(async |rt| {
        let std = StdSocket::bind(V4).unwrap();
        keep_errors(&std);
        let (addr, duplicate, peer) =
            (std.local_addr().unwrap(), std.try_clone().unwrap(), StdSocket::bind(V4).unwrap());
        let socket = Udp::<E>::from_std(rt, std).unwrap();
        let received = Rc::new(Cell::new(0));
        let note = Rc::clone(&received);
        let receiver = rt.spawn(async move {
            loop {
                // Each error of the network is told, once.
                if socket.recv_from().await.is_ok() {
                    note.set(note.get() + 1);
                }
            }
        });
        for round in 1..=5 {
            duplicate.send_to(b"x", nowhere()).unwrap();
            rt.sleep(ms(10)).await;
            let before = rt.stats();
            rt.sleep(ms(100)).await;
            let now = rt.stats();
            let (turns, polls) = (now.turns - before.turns, now.polls - before.polls);
            assert!(turns < 20 && polls < 20, "round {round}: {turns} turns and {polls} polls, and nothing to do");
            peer.send_to(b"hello", addr).unwrap();
            let arrived = async {
                while received.get() < round {
                    rt.sleep(ms(1)).await;
                }
            };
            rt.timeout(Duration::from_secs(5), arrived).await.expect("what comes after an error arrives");
        }
        receiver.abort();
        drop(receiver.await);
    });
}

/// The same, with two directions that wait.
fn a_sender_beside_it_goes_on<E: Engine>() {
    run::<E>(async |rt| {
        let std = StdSocket::bind(V4).unwrap();
        keep_errors(&std);
        let duplicate = std.try_clone().unwrap();
        let peer = rt.bind_udp(V4).unwrap();
        let socket = Rc::new(Udp::<E>::from_std(rt, std).unwrap());
        let waiting = Rc::clone(&socket);
        let receiver = rt.spawn(async move {
            loop {
                drop(waiting.recv_from().await);
            }
        });
        for _ in 0..5 {
            duplicate.send_to(b"x", nowhere()).unwrap();
            rt.sleep(ms(5)).await;
            // An error that has come is told by the next call, whichever that is.
            while socket.send_to("hello", peer.local_addr().unwrap()).await.0.is_err() {}
            rt.timeout(Duration::from_secs(5), peer.recv_from()).await.expect("it is sent").unwrap();
        }
        receiver.abort();
        drop(receiver.await);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, an_unread_error_keeps_nothing_busy, a_sender_beside_it_goes_on);
    suite.run()
}

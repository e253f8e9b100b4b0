//! Goal: waiting until a descriptor is readable makes the call until it no longer would block, on every engine, and costs
//! next to nothing while an error that the call does not clear stays up.
//!
//! Method: an eventfd that another reader empties first, and a UDP socket with an unread error queue. Turns are counted.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;

use executor::Net as _;
use rustix::event::{EventfdFlags, eventfd};
use socket2::SockRef;
use tests::{Engine, Suite, ms, on_every_fallback, run};

fn read(fd: impl AsFd) -> io::Result<u64> {
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count)?;
    Ok(u64::from_ne_bytes(count))
}

/// Another reader is faster, three times. Then the wait goes on.
fn a_call_that_would_block_is_waited_for_again<E: Engine>() {
    run::<E>(async |rt| {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let (own, other, writer) = (fd.try_clone().unwrap(), fd.try_clone().unwrap(), fd.try_clone().unwrap());
        let (stolen, handle) = (Rc::new(Cell::new(0)), rt.clone());
        let counter = Rc::clone(&stolen);
        let waiting = rt.spawn(async move {
            let call = || {
                // At most three times what there is goes to the other reader.
                if counter.get() < 3 && read(&other).is_ok() {
                    counter.set(counter.get() + 1);
                }
                read(&own)
            };
            handle.when_readable(fd, call).await
        });
        while !waiting.is_finished() {
            rustix::io::write(&writer, &7u64.to_ne_bytes()).unwrap();
            rt.sleep(ms(2)).await;
        }
        assert_eq!(waiting.await.unwrap().unwrap() % 7, 0);
        assert_eq!(stolen.get(), 3);
    });
}

/// A socket on which an error waits that only its error queue tells of.
fn with_an_unread_error() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_ip_recverr(&socket, true).unwrap();
    let nobody = {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    socket.connect(nobody).unwrap();
    socket.send(b"x").unwrap();
    socket.set_nonblocking(true).unwrap();
    // The first receive takes the error itself; its record stays in the queue.
    let mut taken = 0;
    while taken < 100 && socket.recv(&mut [0; 8]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        std::thread::sleep(ms(1));
        taken += 1;
    }
    socket
}

fn an_error_that_stays_keeps_nothing_busy<E: Engine>() {
    run::<E>(async |rt| {
        let socket = with_an_unread_error();
        let duplicate = OwnedFd::from(socket.try_clone().unwrap());
        let call = || SockRef::from(&socket).recv(&mut [std::mem::MaybeUninit::uninit(); 8]).map(drop);
        let before = rt.stats().turns;
        let waited = rt.timeout(ms(300), rt.when_readable(duplicate, call)).await;
        assert!(waited.is_err(), "{waited:?}");
        let turns = rt.stats().turns - before;
        assert!(turns < 200, "{turns} turns for one wait");
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_call_that_would_block_is_waited_for_again, an_error_that_stays_keeps_nothing_busy);
    suite.run()
}

//! Goal: an accept loop is one task among others. It is polled when there is something to accept, and not more often. It
//! leaves the others their turns, however many connections wait. A listener that goes leaves no client waiting.
//!
//! Method: crowds of std's blocking clients that are connected before anything accepts; polls are counted.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{IoBuf as _, Listener, Net as _, Reader as _, Runtime, yield_now};
use tests::net::listen;
use tests::{Engine, Stream, Suite, elsewhere, on_every_variant, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// The most connections in a row before the other tasks get their turn.
const MOST_IN_A_ROW: u32 = 16;
const SOON: Duration = Duration::from_secs(20);

fn each_connection_is_one_poll<E: Engine>() {
    const CLIENTS: u32 = 30;
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let (polls, accepted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count_polls, count) = (Rc::clone(&polls), Rc::clone(&accepted));
        let mut accepting = Box::pin(async move {
            loop {
                drop(listener.accept().await.unwrap());
                count.set(count.get() + 1);
            }
        });
        let server = rt.spawn(poll_fn(move |cx| {
            count_polls.set(count_polls.get() + 1);
            accepting.as_mut().poll(cx).map(|never: ()| never)
        }));
        for number in 1..=CLIENTS {
            let peer = TcpStream::connect(addr).unwrap();
            while accepted.get() < number {
                rt.sleep(Duration::from_micros(100)).await;
            }
            drop(peer);
        }
        assert!(polls.get() <= CLIENTS + 1, "{} polls for {CLIENTS} connections", polls.get());
        server.abort();
    });
}

/// They are all there before the first is accepted, so `accept` is always ready.
fn a_crowd_leaves_the_others_their_turns<E: Engine>() {
    const CROWD: u32 = 800;
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let crowd: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let (in_a_row, accepted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (row, count) = (Rc::clone(&in_a_row), Rc::clone(&accepted));
        let server = rt.spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
                row.set(row.get() + 1);
                count.set(count.get() + 1);
            }
        });
        let mut longest_row = 0;
        while accepted.get() < CROWD {
            yield_now().await;
            longest_row = longest_row.max(in_a_row.take());
        }
        assert!(longest_row <= MOST_IN_A_ROW, "{longest_row} connections in a row");
        server.abort();
        drop(crowd);
    });
}

/// Reads, and returns whether the connection is over: by an orderly end, or by a reset.
fn is_over(mut peer: impl Read) -> bool {
    match peer.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// The listener goes while clients wait, of which `own` is one of the runtime's. One client was accepted, if an accept is
/// under way.
async fn each_is_told<E: Engine>(
    rt: &E::Rt,
    mut listener: <E::Rt as Runtime>::Listener,
    mut clients: Vec<impl Read + Send + 'static>,
    mut own: Stream<E>,
    is_begun: bool,
) {
    if is_begun {
        drop((clients.remove(0), listener.accept().await.unwrap()));
        drop(poll_once(&mut Box::pin(listener.accept())).await);
    }
    drop(listener);
    let count = clients.len();
    let ended = elsewhere(move || clients.into_iter().map(is_over).filter(|is_over| *is_over).count());
    assert_eq!(ended.await, count, "an accept was under way: {is_begun}");
    let end = rt.timeout(SOON, own.recv()).await.expect("it waits for a listener that is gone");
    assert!(end.map_or(true, |chunk| chunk.bytes().is_empty()));
}

fn a_listener_that_goes_leaves_no_client_waiting<E: Engine>() {
    const CLIENTS: usize = 10;
    run::<E>(async |rt| {
        for is_begun in [false, true] {
            let (listener, addr) = listen(rt);
            let clients = (0..CLIENTS).map(|_| {
                let client = TcpStream::connect(addr).unwrap();
                client.set_read_timeout(Some(SOON)).unwrap();
                client
            });
            let (clients, own) = (clients.collect(), rt.connect(addr).await.unwrap());
            each_is_told::<E>(rt, listener, clients, own, is_begun).await;
            assert_eq!(rt.connect(addr).await.map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

fn a_unix_listener_that_goes_leaves_no_client_waiting<E: Engine>() {
    const CLIENTS: usize = 10;
    run::<E>(async |rt| {
        for is_begun in [false, true] {
            let name = format!("\0accepting-{}-{is_begun}", std::process::id());
            let listener = rt.listen_unix(&name).unwrap();
            let addr = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
            let clients = (0..CLIENTS).map(|_| {
                let client = UnixStream::connect_addr(&addr).unwrap();
                client.set_read_timeout(Some(SOON)).unwrap();
                client
            });
            let (clients, own) = (clients.collect(), rt.connect_unix(&name).await.unwrap());
            each_is_told::<E>(rt, listener, clients, own, is_begun).await;
            assert_eq!(rt.connect_unix(&name).await.map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        each_connection_is_one_poll,
        a_crowd_leaves_the_others_their_turns,
        a_listener_that_goes_leaves_no_client_waiting,
        a_unix_listener_that_goes_leaves_no_client_waiting,
    );
    suite.run()
}

//! Connections for the tests, and peers that use std's blocking sockets: an implementation of their own
//! to hold the engines against.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use executor::{IoBuf, ListenOptions, Listener, Reader, Runtime, Writer};

use crate::engine::{Engine, Stream};

/// 127.0.0.1, port of the kernel's choice.
pub const V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// ::1, port of the kernel's choice.
pub const V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// A listener on 127.0.0.1, and its address.
///
/// # Panics
/// If that fails.
pub fn listen<R: Runtime>(rt: &R) -> (R::Listener, SocketAddr) {
    listen_at(rt, V4)
}

/// A listener, and its address.
///
/// # Panics
/// If that fails.
pub fn listen_at<R: Runtime>(rt: &R, addr: SocketAddr) -> (R::Listener, SocketAddr) {
    let listener = rt.listen(addr, &ListenOptions::default()).expect("listen");
    let addr = listener.local_addr().expect("local_addr");
    (listener, addr)
}

/// A stream of the engine, and its peer, a blocking stream of std.
pub async fn pair<E: Engine>(rt: &E::Rt) -> (Stream<E>, TcpStream) {
    let (mut listener, addr) = listen(rt);
    // The kernel completes the handshake by itself, so this needs no second thread.
    let peer = TcpStream::connect(addr).expect("connect");
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout for the peer");
    (listener.accept().await.expect("accept"), peer)
}

/// Two ends of one connection, both streams of the engine: the accepted and the connected.
pub async fn duplex<E: Engine>(rt: &E::Rt) -> (Stream<E>, Stream<E>) {
    duplex_at::<E>(rt, V4).await
}

/// As [`duplex`], over this address.
pub async fn duplex_at<E: Engine>(rt: &E::Rt, addr: SocketAddr) -> (Stream<E>, Stream<E>) {
    let (mut listener, addr) = listen_at(rt, addr);
    let connected = rt.connect(addr).await.expect("connect");
    (listener.accept().await.expect("accept"), connected)
}

/// Everything up to the end of the stream.
pub async fn recv_to_end<R: Reader>(reader: &mut R) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let chunk = reader.recv().await.expect("recv");
        if chunk.bytes().is_empty() {
            return all;
        }
        all.extend_from_slice(chunk.bytes());
    }
}

/// Exactly `count` bytes.
pub async fn recv_exactly<R: Reader>(reader: &mut R, count: usize) -> Vec<u8> {
    let (result, bytes) = reader.read_exact(vec![0; count]).await;
    result.expect("read_exact");
    bytes
}

/// Sends back what comes, until the end of the stream or an error.
pub async fn echo<S: Reader + Writer>(mut stream: S) {
    while let Ok(chunk) = stream.recv().await {
        if chunk.bytes().is_empty() || stream.write_all(chunk).await.0.is_err() {
            return;
        }
    }
}

/// One question and its answer, from a blocking peer of an echo server.
///
/// # Panics
/// If the answer is another.
pub fn ask(peer: &mut TcpStream, question: &[u8]) {
    peer.write_all(question).expect("write");
    let mut answer = vec![0; question.len()];
    peer.read_exact(&mut answer).expect("read");
    assert_eq!(answer, question);
}

/// Reads to the end on a thread, after a while. Returns the bytes, and how they ended.
pub fn read_late(mut peer: TcpStream) -> JoinHandle<(Vec<u8>, Result<usize, ErrorKind>)> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        let mut all = Vec::new();
        let end = peer.read_to_end(&mut all);
        (all, end.map_err(|error| error.kind()))
    })
}

/// Makes the peer's close a reset instead of an orderly end.
///
/// # Panics
/// If the socket refuses.
pub fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(peer);
}

/// Bytes whose every position can be told from its neighbours', so that a byte lost, doubled or out of
/// order shows. The period is prime, and so no multiple of any buffer's size.
#[derive(Debug)]
pub struct Pattern {
    block: Vec<u8>,
}

const PERIOD: usize = 1_000_003;

impl Pattern {
    /// The pattern of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Pattern {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut block = vec![0; PERIOD];
        random.fill(&mut block);
        Pattern { block }
    }

    /// The bytes of `len` positions from `start` on.
    #[must_use]
    pub fn bytes(&self, start: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        let mut place = start % PERIOD;
        while bytes.len() < len {
            let count = (len - bytes.len()).min(PERIOD - place);
            bytes.extend_from_slice(&self.block[place..place + count]);
            place = 0;
        }
        bytes
    }

    /// Insists that `bytes` are those from position `start` on.
    ///
    /// # Panics
    /// If they are others.
    pub fn check(&self, start: usize, bytes: &[u8]) {
        let expected = self.bytes(start, bytes.len());
        if bytes != expected {
            let place = bytes.iter().zip(&expected).position(|(got, want)| got != want);
            panic!("byte {} of the stream is wrong", start + place.expect("same length"));
        }
    }
}

/// A size from 1 to `most`: small ones are as likely as large ones.
///
/// # Panics
/// If `most` is 0.
pub fn any_size(random: &mut fastrand::Rng, most: usize) -> usize {
    let most = most >> random.u32(0..=most.ilog2());
    random.usize(1..=most)
}

/// Accepts for ever, and echoes.
///
/// # Panics
/// In its task, if accepting fails.
pub fn serve<R: Runtime>(rt: &R, mut listener: R::Listener) -> executor::JoinHandle<()> {
    let handle = rt.clone();
    rt.spawn(async move {
        loop {
            let stream = listener.accept().await.expect("accept");
            handle.spawn(echo(stream)).detach();
        }
    })
}

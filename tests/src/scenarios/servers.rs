//! The servers of `demos` under honest traffic: whatever is asked is answered, and it costs nothing in the long run.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use demos::serve::{Limits, serve};
use demos::{echo, http};
use fastrand::Rng;
use tempfile::TempDir;

use super::http_client::{HttpClient, Known};
use super::{Scenario, scenario};
use crate::engine::{Engine, Stream};
use crate::flat::Flat;
use crate::guests::Guests;
use crate::net::{Pattern, any_size, listen};
use crate::rounds::Rounds;

/// Threads of clients.
const THREADS: usize = 4;
/// Connections of each thread in a round, one after the other.
const CONNECTIONS: usize = 8;
/// Bytes of a message that is sent before its answer is read: what the kernel's buffers hold.
const MESSAGE: usize = 64 * 1024;
/// Bytes of a transfer that goes both ways at once.
const TRANSFER: usize = 512 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "K1-echo",
        "the echo server of the demos under honest traffic: every byte comes back, descriptors and memory stay flat",
        25,
        [ReactorLevel, ReactorEdge, ProactorFull],
        echo_server
    );
    scenario!(
        all,
        "K1-http",
        "the HTTP server of the demos under honest traffic: every response is right, descriptors and memory stay flat",
        25,
        [ReactorLevel, ReactorEdge, ProactorFull],
        http_server
    );
}

fn echo_server<E: Engine>(rounds: &mut Rounds) {
    let pattern = Arc::new(Pattern::new(rounds.seed()));
    serve_guests::<E, _, _>(
        rounds,
        || {
            |rt, stream| async move {
                // A client that goes without a word is no error of the server's.
                let _ = echo::connection(rt, stream).await;
            }
        },
        move |addr, random| ask_for_echoes(addr, &pattern, random),
    );
}

fn http_server<E: Engine>(rounds: &mut Rounds) {
    let (root, files) = scratch(rounds.seed());
    let known = Arc::new(Known::new(E::NAME, files, rounds.seed()));
    serve_guests::<E, _, _>(
        rounds,
        || {
            let site = Rc::new(http::Site::new(http::Limits::default(), Some(root.path())).expect("a site"));
            move |rt, stream| http::connection(rt, stream, Rc::clone(&site))
        },
        move |addr, random| HttpClient::connect(addr, PATIENCE, &known).talk(random),
    );
}

/// Files of all sizes around that of a piece in which they are sent.
fn scratch(seed: u64) -> (TempDir, Vec<(String, Vec<u8>)>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pattern = Pattern::new(!seed);
    let files = [0, 1, 16_383, 16_384, 16_385, 100_000].map(|size| (format!("{size}.bin"), pattern.bytes(size, size)));
    for (name, content) in &files {
        fs::write(folder.path().join(name), content).expect("a file");
    }
    (folder, files.into())
}

/// Serves threads of clients with a server of the demos, in rounds. `server` makes what serves a connection.
fn serve_guests<E: Engine, C: Fn(E::Rt, Stream<E>) -> F + 'static, F: Future<Output = ()> + 'static>(
    rounds: &mut Rounds,
    server: impl FnOnce() -> C,
    talk: impl Fn(SocketAddr, &mut Rng) -> u64 + Clone + Send + 'static,
) {
    crate::run::<E>(async |rt| {
        let mut random = Rng::with_seed(rounds.seed());
        let (listener, addr) = listen(rt);
        let (handle, connection) = (rt.clone(), server());
        let limits = Limits { connections: 10_000, per_address: None, grace: PATIENCE };
        let server = rt.spawn(async move {
            let runtime = handle.clone();
            serve(&handle, listener, &limits, move |stream| connection(runtime.clone(), stream)).await
        });
        let mut guests = Guests::new(THREADS, || {
            let talk = talk.clone();
            move |mut random| (0..CONNECTIONS).map(|_| talk(addr, &mut random)).sum::<u64>()
        });
        let mut flat = Flat::new(rt).await;
        let mut answers = 0;
        for _ in &mut *rounds {
            answers += guests.play(&mut random).await.into_iter().sum::<u64>();
            flat.check(rt).await;
        }
        rt.stop();
        let served = server.await.expect("the server").expect("accept");
        let connections = rounds.done() * (THREADS * CONNECTIONS) as u64;
        assert_eq!((served.connections, served.cut), (connections, 0), "connections served and cut");
        rounds.figure("connections", connections);
        rounds.figure("answers checked", answers);
        flat.report(rounds);
    });
}

/// One connection to the echo server; returns how many messages came back as they were sent.
fn ask_for_echoes(addr: SocketAddr, pattern: &Pattern, random: &mut Rng) -> u64 {
    let mut stream = TcpStream::connect(addr).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let messages = random.u64(0..8);
    for _ in 0..messages {
        let (start, size) = (random.usize(0..1 << 20), any_size(random, MESSAGE));
        stream.write_all(&pattern.bytes(start, size)).expect("write");
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).expect("read");
        pattern.check(start, &answer);
    }
    if random.u8(0..8) == 0 {
        transfer(&stream, pattern, random.usize(1..TRANSFER));
    } else if random.bool() {
        stream.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(stream.read(&mut [0]).expect("read"), 0, "nothing is left but the end");
    }
    messages + 1
}

/// Writes and reads at the same time, then ends its side, and reads to the end.
fn transfer(stream: &TcpStream, pattern: &Pattern, size: usize) {
    let message = pattern.bytes(0, size);
    let (mut reader, mut writer) = (stream, stream);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(&message).expect("write");
            writer.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut answer = Vec::with_capacity(size);
        reader.read_to_end(&mut answer).expect("read");
        assert_eq!(answer.len(), size, "bytes that came back before the end");
        pattern.check(0, &answer);
    });
}

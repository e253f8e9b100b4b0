//! Goal: a forked process can't do anything with its parent's ring, and a program that is executed inherits nothing of
//! a runtime.
//!
//! Method: forks without exec, in the middle of a conversation, in which the child does what it likes with the runtime
//! it has a copy of; the parent's conversation goes on as if nothing had been. And an executed program that lists
//! its descriptors.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use executor::{IoBuf, Reader, Runtime, Writer};
use oracles::{PageBuffer, forked};
use proactor::Proactor;
use tests::net::{Pattern, listen, pair, recv_exactly};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_proactors, poll_idle, poll_once};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Killed by the first touch of the ring, which isn't mapped there; or by a panic that says so.
fn was_stopped(what: &str, status: ExitStatus) {
    assert!(status.signal() == Some(11) || status.code() == Some(101), "{what}: {status}");
}

fn a_forked_child_cannot_touch_the_ring<E: Engine<Rt = Proactor>>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let ((mut one, one_peer), (mut two, two_peer)) =
        rt.block_on(async { (pair::<E>(&rt).await, pair::<E>(&rt).await) });
    let mut peers = [one_peer, two_peer];
    let pattern = Pattern::new(1);
    {
        // In flight while the process forks: into memory the kernel is told about, and memory it picks.
        let (mut read, mut recv) = (pin!(one.read(PageBuffer::new(1000))), pin!(two.recv()));
        rt.block_on(async {
            assert!(poll_once(&mut read).await.is_none() && poll_once(&mut recv).await.is_none());
            rt.sleep(ms(1)).await;
        });
        was_stopped("a turn", forked(|| drop(rt.turn(Some(ms(10))))).unwrap());
        was_stopped("block_on", forked(|| rt.block_on(rt.sleep(ms(1)))).unwrap());
        was_stopped("the end", forked(|| assert!(bench.end() < ms(10_000))).unwrap());
        let connect = || assert!(poll_idle(&mut pin!(rt.connect(tests::net::V4))).is_pending());
        was_stopped("a new operation", forked(connect).unwrap());
        // The parent's go on.
        peers.iter_mut().for_each(|peer| peer.write_all(&pattern.bytes(0, 500)).unwrap());
        rt.block_on(async {
            let (count, bytes) = read.await;
            pattern.check(0, &bytes.bytes()[..count.unwrap()]);
            pattern.check(0, recv.await.unwrap().bytes());
        });
    }
    rt.block_on(async {
        for (stream, peer) in [&mut one, &mut two].into_iter().zip(&mut peers) {
            peer.write_all(&pattern.bytes(500, 100_000)).unwrap();
            pattern.check(500, &recv_exactly(stream, 100_000).await);
            stream.write_all("on it goes").await.0.unwrap();
        }
    });
    drop((one, two, peers, rt));
    tests::settle::<E>(bench.rt());
    bench.finish();
}

fn an_executed_program_inherits_nothing<E: Engine>() {
    tests::run::<E>(async |rt| {
        let (_listener, _) = listen(rt);
        let (mut stream, _peer) = pair::<E>(rt).await;
        assert!(poll_once(&mut pin!(stream.recv())).await.is_none());
        rt.sleep(ms(1)).await;
        rt.as_fd().unwrap();
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && listed.contains("/dev/null"), "{listed}");
        let is_ours = |line: &&str| line.contains("anon_inode") || line.contains("socket:");
        assert_eq!(listed.lines().filter(is_ours).collect::<Vec<_>>(), Vec::<&str>::new());
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_proactors!(suite, a_forked_child_cannot_touch_the_ring);
    on_every_engine!(suite, an_executed_program_inherits_nothing);
    suite.run()
}

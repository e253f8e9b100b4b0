//! Goal: what belongs to a runtime stays on its thread. The compiler sees to it; and where unsafe code gets
//! around the compiler, an operation from the wrong thread is a clear failure, not a hang.
//!
//! Method: questions to the compiler about every public type and every future, which don't compile if one of
//! them could be sent; and a runtime that is smuggled to another thread.

use std::process::ExitCode;

use executor::{Listener, Reader, Runtime, Stream as _, Writer};
use tests::net::{V4, duplex, listen};
use tests::{Bench, Engine, Suite, ms, on_every_engine, panics, run};

/// Implemented twice for what is `Send`, so that a mention of it without saying which is an error.
trait NotSend<A> {}
impl<T: ?Sized> NotSend<()> for T {}
impl<T: ?Sized + Send> NotSend<u8> for T {}

/// The same for `Sync`.
trait NotSync<A> {}
impl<T: ?Sized> NotSync<()> for T {}
impl<T: ?Sized + Sync> NotSync<u8> for T {}

/// Compiles only for what can be neither sent to another thread nor used from one.
fn stays<T: ?Sized + NotSend<A> + NotSync<B>, A, B>() {}

/// The same for a value whose type has no name.
fn this_stays<T: NotSend<A>, A>(_value: &T) {}

fn crosses<T: Send + Sync>() {}

fn types_stay_or_cross() {
    stays::<reactor::Reactor, _, _>();
    stays::<reactor::TcpListener, _, _>();
    stays::<reactor::TcpStream, _, _>();
    stays::<reactor::ReadHalf, _, _>();
    stays::<reactor::WriteHalf, _, _>();
    stays::<reactor::Chunk, _, _>();
    stays::<reactor::AsyncFd, _, _>();
    stays::<proactor::Proactor, _, _>();
    stays::<proactor::TcpListener, _, _>();
    stays::<proactor::TcpStream, _, _>();
    stays::<proactor::ReadHalf, _, _>();
    stays::<proactor::WriteHalf, _, _>();
    stays::<proactor::Chunk, _, _>();
    stays::<executor::JoinHandle<()>, _, _>();
    stays::<executor::JoinSet<()>, _, _>();
    stays::<executor::Sleep, _, _>();
    stays::<executor::Interval, _, _>();
    stays::<executor::Fired, _, _>();
    crosses::<executor::RemoteHandle>();
    crosses::<executor::RemoteTask>();
    crosses::<executor::AbortHandle>();
    crosses::<executor::StopHandle>();
    crosses::<executor::JoinError>();
    crosses::<std::task::Waker>();
}

fn futures_stay<E: Engine<Rt: Runtime<Stream: 'static>>>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        let (mut listener, _) = listen(rt);
        this_stays(&rt.connect(V4));
        this_stays(&rt.sleep(ms(1)));
        this_stays(&rt.stopped());
        this_stays(&rt.timeout(ms(1), std::future::ready(())));
        this_stays(&rt.interval(ms(1)).tick());
        this_stays(&listener.accept());
        this_stays(&here.recv());
        this_stays(&here.read(vec![0]));
        this_stays(&here.read_exact(vec![0]));
        this_stays(&here.write("x"));
        this_stays(&here.write_all("x"));
        this_stays(&here.shutdown());
        this_stays(&there.exchange("x"));
        this_stays(&there.close());
    });
}

/// Where unsafe code has gone wrong already.
struct Smuggled<T>(T);

// SAFETY: this is the mistake under test. It is harmless here because the home thread does nothing but wait
// until the other one is done, so nothing is ever used by two threads at once.
unsafe impl<T> Send for Smuggled<T> {}

/// The kernel lets only one thread submit to a ring: EEXIST from every other. And the number under which a ring was
/// registered is known on that thread only: EINVAL.
fn a_ring_on_the_wrong_thread_is_told<E: Engine>() {
    let bench = Bench::<E>::new();
    let smuggled = Smuggled(bench.handle());
    let text = std::thread::spawn(move || {
        let smuggled = smuggled;
        let rt = &smuggled.0;
        panics(|| rt.block_on(rt.sleep(ms(10))))
    })
    .join()
    .unwrap();
    let is_told = ["File exists", "Invalid argument"].iter().any(|error| text.contains(error));
    assert!(text.contains("UringDriver cannot go on") && is_told, "{text}");
    bench.rt().block_on(bench.rt().sleep(ms(1)));
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.add_plain("types_stay_or_cross", types_stay_or_cross);
    on_every_engine!(suite, futures_stay);
    tests::on_engines!(suite, [ProactorFull], a_ring_on_the_wrong_thread_is_told);
    suite.run()
}

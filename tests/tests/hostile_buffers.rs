//! Goal: a buffer is code of the program, and may be as bad as safe code can be. It may show other bytes at each look, panic
//! at any look, and use the runtime meanwhile. What is received lands in the buffer or in the next one, the panic reaches
//! the task that brought the buffer, and nothing else suffers.
//!
//! Method: such buffers in every call that takes one, with looks counted, so that each look is once the one that is bad.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::UdpSocket as StdSocket;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;

use executor::{
    Config, Files as _, IoBuf, IoBufMut, JoinError, Net as _, RandomAccess as _, Reader, Stream as _, Writer, yield_now,
};
use rustix::fs::{MemfdFlags, memfd_create};
use tests::net::{V4, pair, recv_exactly};
use tests::{
    Bench, CountsDrops, Engine, Suite, elsewhere, ms, on_every_engine, on_every_variant, poll_once, run, settle,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// A buffer that does something at each look, and decides how much it shows.
struct Acts {
    memory: Vec<u8>,
    looks: Rc<Cell<u32>>,
    /// Given the number of the look, from 0. Returns how many bytes are shown.
    act: Rc<dyn Fn(u32) -> usize>,
    _guard: CountsDrops,
}

impl Acts {
    fn look(&self) -> usize {
        let look = self.looks.get();
        self.looks.set(look + 1);
        (self.act)(look).min(self.memory.len())
    }
}

impl IoBuf for Acts {
    fn bytes(&self) -> &[u8] {
        let len = self.look();
        &self.memory[..len]
    }
}

impl IoBufMut for Acts {
    fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.look();
        &mut self.memory[..len]
    }
}

/// Makes buffers of one kind, and counts them and their drops.
struct Source {
    act: Rc<dyn Fn(u32) -> usize>,
    made: Cell<u32>,
    drops: Rc<Cell<u32>>,
}

impl Source {
    fn new(act: impl Fn(u32) -> usize + 'static) -> Source {
        Source { act: Rc::new(act), made: Cell::new(0), drops: Rc::default() }
    }

    fn buffer(&self, len: usize) -> Acts {
        self.made.set(self.made.get() + 1);
        let _guard = CountsDrops(Rc::clone(&self.drops));
        Acts { memory: vec![b'o'; len], looks: Rc::default(), act: Rc::clone(&self.act), _guard }
    }
}

/// The length of a buffer: all of it goes at once.
const LEN: usize = 64;
/// What the peer says.
const SAID: &[u8; 32] = b"thirty-two bytes of a long speec";

/// The calls that take a buffer.
const CALLS: usize = 11;

/// Makes the call of this number, with a buffer from there. There is something to receive wherever it receives.
async fn call<E: Engine>(rt: &E::Rt, number: usize, source: &Source) {
    let (mut stream, mut peer) = pair::<E>(rt).await;
    let file = rt.file_from_std(memfd_create("test", MemfdFlags::CLOEXEC).unwrap().into()).unwrap();
    let (udp, udp_peer) = (rt.bind_udp(V4).unwrap(), StdSocket::bind(V4).unwrap());
    peer.write_all(SAID).unwrap();
    udp_peer.send_to(SAID, udp.local_addr().unwrap()).unwrap();
    file.write_at(SAID.to_vec(), 0).await.0.unwrap();
    let buffer = source.buffer(LEN);
    match number {
        0 => drop(stream.write(buffer).await),
        1 => drop(stream.write_all(buffer).await),
        2 => drop(stream.write_all_vectored(vec![source.buffer(LEN), buffer]).await),
        3 => drop(stream.exchange(buffer).await),
        4 => drop(stream.feed(buffer).await),
        5 => drop(stream.read(buffer).await),
        // Of what the peer says, to be sure that this ends.
        6 => drop(rt.timeout(ms(20), stream.read_exact(buffer)).await),
        7 => drop(udp.send_to(buffer, udp_peer.local_addr().unwrap()).await),
        8 => drop(udp.read_from(buffer).await),
        9 => drop(file.write_at(buffer, 100).await),
        _ => drop(file.read_at(buffer, 0).await),
    }
    stream.flush().await.ok();
}

/// Each look panics once, in each call. The task has the panic, and every buffer is dropped, once.
fn a_panic_at_any_look_is_the_tasks_own<E: Engine>() {
    std::panic::set_hook(Box::new(|_| {}));
    let bench = Bench::<E>::with(Config { on_task_panic: Rc::new(drop), ..Config::default() });
    let rt = bench.handle();
    rt.block_on(async {
        let (mut bystander, mut far) = pair::<E>(&rt).await;
        let waiting = rt.spawn(async move { recv_exactly(&mut bystander, 2).await });
        let mut panics = 0;
        for number in 0..CALLS {
            for bad in 0..4 {
                let source = Rc::new(Source::new(move |look| {
                    assert!(look != bad, "a look");
                    LEN
                }));
                let (handle, given) = (rt.clone(), Rc::clone(&source));
                let task = rt.spawn(async move { call::<E>(&handle, number, &given).await });
                match task.await {
                    Ok(()) => assert!(bad > 0, "call {number} does not look"),
                    Err(JoinError::Panicked(payload)) => {
                        assert_eq!(payload.text(), "a look", "call {number}, look {bad}");
                        panics += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
                while source.drops.get() < source.made.get() {
                    rt.sleep(ms(1)).await;
                }
                assert_eq!(source.drops.get(), source.made.get(), "call {number}, look {bad}");
            }
        }
        assert!(panics >= CALLS);
        far.write_all(b"ok").unwrap();
        assert_eq!(waiting.await.unwrap(), b"ok", "the other stream goes on");
    });
    drop(std::panic::take_hook());
    drop(rt);
    settle::<E>(bench.rt());
    bench.finish();
}

/// They show more and less at each look, from nothing to all. The call ends, or panics, and writes nowhere else.
fn looks_that_differ_cost_the_call_at_most<E: Engine>() {
    std::panic::set_hook(Box::new(|_| {}));
    let bench = Bench::<E>::with(Config { on_task_panic: Rc::new(drop), ..Config::default() });
    let rt = bench.handle();
    rt.block_on(async {
        let shapes: [fn(u32) -> usize; 4] = [
            |look| if look.is_multiple_of(2) { LEN } else { 3 },
            |look| if look.is_multiple_of(2) { 3 } else { LEN },
            |look| if look == 0 { LEN } else { 0 },
            |look| 17 * look as usize % LEN,
        ];
        for (shape, act) in shapes.into_iter().enumerate() {
            for number in 0..CALLS {
                let source = Rc::new(Source::new(act));
                let (handle, given) = (rt.clone(), Rc::clone(&source));
                let task = rt.spawn(async move { call::<E>(&handle, number, &given).await });
                let ended = rt.timeout(ms(10_000), task).await;
                let ended = ended.unwrap_or_else(|_| panic!("call {number} waits for ever, shape {shape}"));
                assert!(matches!(ended, Ok(()) | Err(JoinError::Panicked(_))));
                while source.drops.get() < source.made.get() {
                    rt.sleep(ms(1)).await;
                }
            }
        }
    });
    drop(std::panic::take_hook());
    drop(rt);
    settle::<E>(bench.rt());
    bench.finish();
}

/// A read into a buffer that is empty at the second look. It takes nothing away, and the stream has not ended.
fn a_buffer_that_is_empty_at_the_second_look_loses_no_byte<E: Engine>() {
    run::<E>(async |rt| {
        for is_there in [true, false] {
            for first_empty in 1..4 {
                let (mut stream, mut peer) = pair::<E>(rt).await;
                if is_there {
                    peer.write_all(SAID).unwrap();
                    rt.sleep(ms(2)).await;
                }
                let source = Source::new(move |look| if look < first_empty { LEN } else { 0 });
                let mut received = Vec::new();
                if let Ok((result, buffer)) = rt.timeout(ms(20), stream.read(source.buffer(LEN))).await {
                    let count = result.unwrap_or_else(|error| {
                        assert_eq!(error.kind(), ErrorKind::InvalidInput);
                        0
                    });
                    received.extend_from_slice(&buffer.memory[..count]);
                }
                if !is_there {
                    peer.write_all(SAID).unwrap();
                }
                let rest = SAID.len() - received.len();
                let rest = rt.timeout(ms(10_000), recv_exactly(&mut stream, rest)).await.expect("a byte is lost");
                received.extend(rest);
                assert_eq!(received, SAID, "empty from look {first_empty} on, there before: {is_there}");
            }
        }
    });
}

/// What a look does with the runtime.
fn use_everything<E: Engine>(rt: &E::Rt, other: &RefCell<tests::Stream<E>>, spawned: &Rc<Cell<u32>>) {
    let count = Rc::clone(spawned);
    rt.spawn(async move { count.set(count.get() + 1) }).detach();
    assert!(tests::poll_idle(&mut rt.sleep(ms(1000))).is_pending());
    drop(rt.stats());
    let mut other = other.borrow_mut();
    drop(tests::poll_idle(&mut Box::pin(other.feed("from a look"))));
    drop(tests::poll_idle(&mut Box::pin(other.recv())));
    drop(rt.bind_udp(V4).unwrap());
}

/// A look spawns, sets timers, opens a socket, and writes and reads on another stream.
fn a_look_may_use_the_runtime<E: Engine>() {
    run::<E>(async |rt| {
        for number in 0..CALLS {
            let (other, mut far) = pair::<E>(rt).await;
            let (other, spawned) = (Rc::new(RefCell::new(other)), Rc::new(Cell::new(0)));
            let (handle, kept, count) = (rt.clone(), Rc::clone(&other), Rc::clone(&spawned));
            let source = Source::new(move |_| {
                use_everything::<E>(&handle, &kept, &count);
                LEN
            });
            call::<E>(rt, number, &source).await;
            yield_now().await;
            assert!(spawned.get() > 0, "call {number} does not look");
            let said = elsewhere(move || {
                let mut said = [0; 11];
                far.read_exact(&mut said).map(|()| said)
            });
            assert_eq!(&said.await.unwrap(), b"from a look");
            drop(source);
            drop(Rc::into_inner(other).expect("the buffer is gone"));
        }
    });
}

/// A look panics after a part was sent, on the engines that look again. What follows would follow a gap.
fn a_panic_after_a_part_breaks_the_writer<E: Engine>() {
    const MUCH: usize = 16 << 20;
    std::panic::set_hook(Box::new(|_| {}));
    run::<E>(async |rt| {
        for is_vectored in [false, true] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            // Until a part is sent, and more is waited for.
            let is_bad = Rc::new(Cell::new(false));
            let bad = Rc::clone(&is_bad);
            let source = Source::new(move |_| {
                assert!(!bad.get(), "a look in the middle");
                MUCH
            });
            let task = rt.spawn(async move {
                let result = {
                    let mut writing: Pin<Box<dyn Future<Output = bool>>> = match is_vectored {
                        false => Box::pin(async { stream.write_all(source.buffer(MUCH)).await.0.is_ok() }),
                        true => {
                            Box::pin(async { stream.write_all_vectored(vec![source.buffer(MUCH)]).await.0.is_ok() })
                        }
                    };
                    assert!(poll_once(&mut writing).await.is_none(), "it was meant to wait");
                    is_bad.set(true);
                    catch(writing).await
                };
                let after = stream.write_all("after the gap").await.0;
                (result, after, stream)
            });
            let reading = std::thread::spawn(move || {
                let mut all = Vec::new();
                drop(peer.read_to_end(&mut all));
                all
            });
            let (result, after, stream) = task.await.unwrap();
            drop(stream);
            while !reading.is_finished() {
                rt.sleep(ms(1)).await;
            }
            let all = reading.join().unwrap();
            match result {
                // No further look was needed: all of it arrives, and then the next.
                Some(is_ok) => assert!(is_ok && after.is_ok() && all.len() == MUCH + 13, "{} bytes", all.len()),
                None => {
                    assert_eq!(after.unwrap_err().kind(), ErrorKind::BrokenPipe);
                    assert!(all.len() < MUCH && all.iter().all(|byte| *byte == b'o'), "{} bytes", all.len());
                }
            }
        }
    });
    drop(std::panic::take_hook());
}

/// The output, or `None` if a poll panics.
async fn catch<T>(mut future: Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    std::future::poll_fn(|cx| {
        let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(cx));
        match std::panic::catch_unwind(poll) {
            Ok(polled) => polled.map(Some),
            Err(_payload) => std::task::Poll::Ready(None),
        }
    })
    .await
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        a_panic_at_any_look_is_the_tasks_own,
        looks_that_differ_cost_the_call_at_most,
        a_buffer_that_is_empty_at_the_second_look_loses_no_byte,
        a_panic_after_a_part_breaks_the_writer,
    );
    on_every_engine!(suite, a_look_may_use_the_runtime);
    suite.run()
}

//! Goal: however a program polls, it gets what it waits for, and nothing is left: a thousand futures in one task, one
//! future in many tasks by turns, futures that are done already, and tasks that wait for each other.
//!
//! Method: tasks that poll only what was woken, so that a wake that is lost, or goes to the wrong task, is a hang.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read as _, Write as _};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor::{IoBuf as _, JoinError, JoinHandle, Listener as _, Reader as _, Stream as _, Writer as _, yield_now};
use tests::net::{Pattern, listen, pair};
use tests::{CountsDrops, Engine, Suite, ms, on_every_fallback, on_every_variant, panics, poll_idle, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Waits for the first of many. Returns its place and its output. The others stay as they are.
async fn first<F: Future + Unpin>(all: &mut [F]) -> (usize, F::Output) {
    poll_fn(|cx| {
        for (place, future) in all.iter_mut().enumerate() {
            if let Poll::Ready(output) = Pin::new(future).poll(cx) {
                return Poll::Ready((place, output));
            }
        }
        Poll::Pending
    })
    .await
}

/// One task waits for all of them, over and over, and drops the others with the last.
fn one_task_waits_for_a_thousand<E: Engine>() {
    const MANY: usize = 1000;
    run::<E>(async |rt| {
        let start = rt.now();
        let mut sleeps: Vec<_> = (0..MANY).map(|n| rt.sleep_until(start + ms(3_600_000 + n as u64))).collect();
        for place in [MANY - 1, 0, MANY / 2] {
            sleeps[place].reset(rt.now() + ms(1));
            assert_eq!(first(&mut sleeps).await.0, place);
            sleeps[place].reset(None);
        }
        assert_eq!(rt.stats().timers_now, MANY as u64 - 3);
        drop(sleeps);
        assert_eq!(rt.stats().timers_now, 0);
    });
}

/// The same with streams: bytes of those that were not the first are not lost.
fn one_task_waits_for_a_hundred_streams<E: Engine>() {
    const MANY: usize = 100;
    run::<E>(async |rt| {
        let (mut streams, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..MANY {
            let (stream, peer) = pair::<E>(rt).await;
            streams.push(stream);
            peers.push(peer);
        }
        let mut heard = [0; MANY];
        for round in 0..2 * MANY {
            let speaks = [round * 37 % MANY, round * 53 % MANY];
            let mut receives: Vec<_> = streams.iter_mut().map(|stream| Box::pin(stream.recv())).collect();
            assert!(poll_once(&mut Box::pin(first(&mut receives))).await.is_none(), "nothing was said");
            speaks.iter().for_each(|peer| peers[*peer].write_all(b"x").unwrap());
            let mut missing = 2;
            while missing > 0 {
                let (place, chunk) = first(&mut receives).await;
                let count = chunk.unwrap().bytes().len();
                heard[place] += count;
                missing -= count;
                // All are dropped, and begun again.
                drop(receives);
                receives = streams.iter_mut().map(|stream| Box::pin(stream.recv())).collect();
            }
        }
        assert_eq!(heard.iter().sum::<usize>(), 4 * MANY);
        assert!(heard.iter().all(|count| *count == 4), "{heard:?}");
    });
}

/// A future that tasks hand to each other: whichever is woken polls it once, and then the next has it.
struct HandedOn<'a> {
    future: RefCell<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    polls: Cell<u32>,
    /// The task that is to poll it, by its number, and the wakers of all.
    turn: Cell<usize>,
    wakers: RefCell<[Option<Waker>; HANDS]>,
    is_done: Cell<bool>,
}

const HANDS: usize = 4;

impl HandedOn<'_> {
    /// One of the tasks. Each polls the future twice in its turn: it leaves its waker, and takes the wake.
    async fn hand(self: Rc<Self>, number: usize) {
        poll_fn(|cx| {
            self.wakers.borrow_mut()[number] = Some(cx.waker().clone());
            if self.is_done.get() {
                return Poll::Ready(());
            }
            if self.turn.get() != number {
                return Poll::Pending;
            }
            self.polls.set(self.polls.get() + 1);
            let polled = self.future.borrow_mut().as_mut().poll(cx);
            self.is_done.set(polled.is_ready());
            // Every third time the next one polls at once, before anything has happened.
            if polled.is_ready() || self.polls.get().is_multiple_of(3) {
                self.turn.set((number + 1) % HANDS);
                self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
            }
            if polled.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Each kind of future once: what it waits for wakes the task that polled it last.
fn a_future_goes_from_task_to_task<E: Engine>() {
    const LEN: usize = 4_000_000;
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (mut listener, addr) = listen(rt);
        let handle = rt.clone();
        let future = async move {
            let (mut read, mut write) = stream.split();
            let pattern = Pattern::new(5);
            write.write_all(pattern.bytes(0, LEN)).await.0.unwrap();
            let (result, all) = read.read_exact(vec![0; LEN]).await;
            result.unwrap();
            pattern.check(0, &all);
            for _ in 0..10 {
                write.write_all("x").await.0.unwrap();
                assert_eq!(read.recv().await.unwrap().bytes(), b"x");
                handle.sleep(ms(1)).await;
            }
            drop(listener.accept().await.unwrap());
            let job = handle.spawn_blocking(|| std::thread::sleep(ms(2)));
            job.await.unwrap();
            handle.unblock(|| std::thread::sleep(ms(2))).await.unwrap();
        };
        let echo = std::thread::spawn(move || {
            let mut piece = vec![0; LEN];
            peer.read_exact(&mut piece).unwrap();
            peer.write_all(&piece).unwrap();
            while peer.read_exact(&mut piece[..1]).is_ok() {
                std::thread::sleep(ms(1));
                peer.write_all(&piece[..1]).unwrap();
            }
        });
        let connect = std::thread::spawn(move || {
            std::thread::sleep(ms(60));
            std::net::TcpStream::connect(addr).unwrap()
        });
        let handed = Rc::new(HandedOn {
            future: RefCell::new(Box::pin(future)),
            polls: Cell::new(0),
            turn: Cell::new(0),
            wakers: RefCell::default(),
            is_done: Cell::new(false),
        });
        let hands: Vec<_> = (0..HANDS).map(|number| rt.spawn(Rc::clone(&handed).hand(number))).collect();
        for hand in hands {
            hand.await.unwrap();
        }
        drop(handed);
        echo.join().unwrap();
        drop(connect.join().unwrap());
    });
}

/// It is ready again, or says that it was a mistake. It never waits, and nothing else suffers.
fn a_future_that_is_done_is_polled_again<E: Engine>() {
    run::<E>(async |rt| {
        let mut sleep = rt.sleep(ms(1));
        (&mut sleep).await;
        assert!(poll_idle(&mut sleep).is_ready());
        let mut stopped = Box::pin(rt.stopped());
        rt.stop();
        for _ in 0..3 {
            assert!(poll_once(&mut stopped).await.is_some());
        }
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let (mut listener, addr) = listen(rt);
        peer.write_all(b"x").unwrap();
        let mut jobs = (Box::pin(rt.unblock(|| 1)), rt.spawn_blocking(|| 1), rt.spawn(async { 1 }));
        (&mut jobs.0).await.unwrap();
        (&mut jobs.1).await.unwrap();
        (&mut jobs.2).await.unwrap();
        assert!(panics(|| drop(poll_idle(&mut jobs.1))).contains("after it had given its output"));
        assert!(panics(|| drop(poll_idle(&mut jobs.2))).contains("after it had given its output"));
        // This one has no output left to give.
        assert!(poll_idle(&mut jobs.0).is_pending());
        {
            let mut write = Box::pin(stream.write_all("y"));
            (&mut write).await.0.unwrap();
            assert!(!panics(|| drop(poll_idle(&mut write))).is_empty());
        }
        {
            let mut read = Box::pin(stream.read_exact([0]));
            (&mut read).await.0.unwrap();
            assert!(!panics(|| drop(poll_idle(&mut read))).is_empty());
        }
        let client = std::net::TcpStream::connect(addr).unwrap();
        {
            let mut accept = Box::pin(listener.accept());
            drop((&mut accept).await.unwrap());
            assert!(!panics(|| drop(poll_idle(&mut accept))).is_empty());
        }
        // Reading and accepting are as good as before. A write whose poll panicked counts as one that was dropped midway.
        peer.write_all(b"z").unwrap();
        assert_eq!(stream.recv().await.unwrap().bytes(), b"z");
        let mut said = [0];
        peer.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"y");
        if let Err(error) = stream.write_all("!").await.0 {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        drop((client, std::net::TcpStream::connect(addr).unwrap()));
        listener.accept().await.unwrap();
    });
}

/// Two wait for each other, and one for itself. They wait for ever, keep nothing busy, and an abort of one ends both.
fn tasks_that_wait_for_each_other_end_with_an_abort<E: Engine>() {
    type Slot = Rc<RefCell<Option<JoinHandle<()>>>>;
    run::<E>(async |rt| {
        let drops = Rc::new(Cell::new(0));
        let waits = |slot: &Slot| {
            let (slot, guard) = (Rc::clone(slot), CountsDrops(Rc::clone(&drops)));
            rt.spawn(async move {
                let _guard = guard;
                let other = slot.borrow_mut().take().expect("put there before the first poll");
                assert!(matches!(other.await, Err(JoinError::Cancelled)));
            })
        };
        let (left, right, own) = (Slot::default(), Slot::default(), Slot::default());
        let (one, two, three) = (waits(&left), waits(&right), waits(&own));
        let (abort_one, abort_three) = (one.abort_handle(), three.abort_handle());
        *left.borrow_mut() = Some(two);
        *right.borrow_mut() = Some(one);
        *own.borrow_mut() = Some(three);
        yield_now().await;
        let polls = rt.stats().polls;
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!((rt.stats().polls - polls, drops.get()), (5, 0), "only this task is polled");
        abort_one.abort();
        abort_three.abort();
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!((drops.get(), rt.stats().tasks_now), (3, 0));
        assert_eq!(rt.stats().tasks_panicked, 0);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        one_task_waits_for_a_thousand,
        one_task_waits_for_a_hundred_streams,
        a_future_that_is_done_is_polled_again,
        tasks_that_wait_for_each_other_end_with_an_abort,
    );
    on_every_variant!(suite, a_future_goes_from_task_to_task);
    suite.run()
}

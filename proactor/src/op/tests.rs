//! Goal: the one rule holds for every order of completions, drops and leaks, and for every end of
//! the table.
//!
//! Method: no kernel. The tests feed completions by hand: in scripts for the states that have a
//! name, and in random order against a model that knows what the kernel holds. Buffers report when
//! they are dropped, which must never happen while the model's kernel holds them.

#[cfg(test)]
mod model;

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use executor::{Fired, IoBuf, IoBufMut, Key};

use super::{Accept, Asked, Connect, Kind, Next, Purpose, Read, RecvMultishot, RecvOnce, Send, Slots, State};
use crate::buffer::{Buffer, clamp};
use crate::pool::{BLOCK_SIZE, Chunk, Pool};
use crate::ring::buffers::{BufferRing, Group};
use crate::ring::completion::Completion;
use crate::ring::message::MOST;
use crate::socket::{Filler, Sending, Socket};

const MORE: u32 = 1 << 1;
const BUFFER: u32 = 1 << 0;
const KEPT: u32 = 1 << 4;

/// Counts its drops, and panics if it is dropped while it is `held`.
struct Watched {
    bytes: Vec<u8>,
    held: Rc<Cell<bool>>,
    drops: Rc<Cell<u32>>,
}

impl IoBuf for Watched {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl IoBufMut for Watched {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        assert!(!self.held.get(), "freed while the kernel holds it");
    }
}

/// The state of a buffer, for the test to watch.
#[derive(Clone, Default)]
struct Watch {
    held: Rc<Cell<bool>>,
    drops: Rc<Cell<u32>>,
}

impl Watch {
    fn buffer(&self, len: usize) -> Watched {
        Watched { bytes: vec![7; len], held: Rc::clone(&self.held), drops: Rc::clone(&self.drops) }
    }
}

struct CountsWakes(AtomicU32);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn socket<T>() -> Rc<Socket<T>> {
    Socket::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()))
}

fn pool(is_incremental: bool) -> Rc<Pool> {
    let streams = BufferRing::new(Group::Streams, is_incremental);
    Pool::new(Some([streams, BufferRing::new(Group::Datagrams, false)]))
}

fn slots() -> Slots {
    Slots::new(Pool::new(None))
}

fn read(socket: &Rc<Socket<Chunk>>, watch: &Watch, len: usize) -> Kind {
    Kind::Read(Read { socket: Rc::clone(socket), buffer: Buffer::to_receive(watch.buffer(len)) })
}

fn send(socket: &Rc<Socket<Chunk>>, watch: &Watch, len: usize, is_quiet: bool) -> Kind {
    Kind::Send(Send::new(Rc::clone(socket), Buffer::to_send(watch.buffer(len)), true, is_quiet))
}

fn done(key: Key, result: i32) -> Completion {
    Completion::for_test(key, result, 0)
}

fn state(slots: &Slots, key: Key) -> Option<State> {
    slots.table.get(key).map(|operation| operation.state)
}

#[test]
fn a_read_that_is_dropped_before_the_push_is_never_seen_by_the_kernel() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let key = slots.insert(read(&socket, &watch, 8));
    assert!(socket.incoming.filler.get() == Filler::Read(key));
    assert_eq!(slots.orphan(key, &mut fired), Next::Nothing);
    assert!(slots.launch(key).is_none());
    fired.run();
    assert_eq!((watch.drops.get(), slots.in_kernel(), slots.table.len()), (1, 0, 0));
    assert!(socket.incoming.filler.get() == Filler::None);
}

#[test]
fn a_read_that_is_dropped_in_flight_keeps_its_buffer_until_the_final_completion() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let key = slots.insert(read(&socket, &watch, 8));
    assert!(slots.launch(key).is_some());
    watch.held.set(true);
    assert_eq!(slots.orphan(key, &mut fired), Next::Cancel);
    assert_eq!(slots.orphan(key, &mut fired), Next::Nothing, "once");
    assert!(socket.incoming.filler.get() == Filler::Own(key));
    watch.held.set(false);
    assert_eq!(slots.complete(done(key, 3), &mut fired), Next::Nothing);
    fired.run();
    assert_eq!((watch.drops.get(), slots.in_kernel(), slots.table.len()), (1, 0, 0));
    let chunk = socket.incoming.take().unwrap().unwrap().unwrap();
    assert_eq!(&*chunk, [7; 3], "its bytes are the next one's");
    assert_eq!(slots.complete(done(key, 3), &mut Fired::default()), Next::Stray, "a late duplicate");
}

#[test]
fn a_read_that_is_over_and_then_dropped_gives_its_bytes_back() {
    for result in [5, 0, -libc::ECONNRESET] {
        let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
        let key = slots.insert(read(&socket, &watch, 8));
        slots.launch(key).unwrap();
        assert_eq!(slots.complete(done(key, result), &mut fired), Next::Nothing);
        assert_eq!((state(&slots, key), slots.in_kernel()), (Some(State::Over(result)), 0));
        assert!(socket.incoming.filler.get() == Filler::Read(key), "the next receive finds it by this");
        assert_eq!(slots.orphan(key, &mut fired), Next::Nothing);
        fired.run();
        assert!(socket.incoming.filler.get() == Filler::None);
        match (result, socket.incoming.take()) {
            (5, Some(Ok(Some(chunk)))) => assert_eq!(chunk.len(), 5),
            (0, Some(Ok(None))) => {}
            (..0, Some(Err(error))) => assert_eq!(error.raw_os_error(), Some(-result), "told to the next that asks"),
            (_, arrived) => panic!("{arrived:?}"),
        }
        assert_eq!((watch.drops.get(), slots.table.len()), (1, 0));
    }
}

#[test]
fn a_multishot_goes_on_after_more_and_ends_once() {
    let (mut slots, socket, mut fired) = (slots(), socket::<OwnedFd>(), Fired::default());
    let key = slots.insert(Kind::Accept(Accept { socket: Rc::clone(&socket), is_multishot: true }));
    slots.launch(key).unwrap();
    let accepted = std::os::fd::IntoRawFd::into_raw_fd(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    assert_eq!(slots.complete(Completion::for_test(key, accepted, MORE), &mut fired), Next::Nothing);
    assert_eq!((slots.in_kernel(), state(&slots, key)), (1, Some(State::InFlight)));
    assert_eq!(slots.complete(done(key, -libc::EMFILE), &mut fired), Next::Nothing);
    assert_eq!((slots.in_kernel(), state(&slots, key)), (0, None));
    assert_eq!(slots.complete(done(key, -libc::EMFILE), &mut fired), Next::Stray);
    assert_eq!(socket.incoming.take().unwrap().unwrap().unwrap().as_raw_fd(), accepted);
    assert_eq!(socket.incoming.take().unwrap().unwrap_err().raw_os_error(), Some(libc::EMFILE));
}

/// No operation with a ticket is multishot. If the kernel said that one continues, it would still
/// hold the memory.
#[test]
fn nothing_is_freed_by_a_completion_that_is_not_final() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let read = slots.insert(read(&socket, &watch, 8));
    let once = slots.insert(Kind::RecvOnce(RecvOnce::new(Rc::clone(&socket), vec![0; 8])));
    watch.held.set(true);
    for key in [read, once] {
        slots.launch(key).unwrap();
        assert_eq!(slots.complete(Completion::for_test(key, 4, MORE), &mut fired), Next::Nothing);
    }
    assert_eq!(slots.in_kernel(), 2);
    assert!(socket.incoming.take().is_none());
    watch.held.set(false);
    for key in [read, once] {
        assert_eq!(slots.complete(done(key, 4), &mut fired), Next::Nothing);
    }
    assert_eq!((slots.in_kernel(), socket.incoming.take().unwrap().unwrap().unwrap().len()), (0, 4));
}

#[test]
fn a_completion_of_what_was_never_pushed_is_a_stray() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let key = slots.insert(read(&socket, &watch, 8));
    assert_eq!(slots.complete(done(key, 4), &mut fired), Next::Stray);
    assert_eq!(slots.complete(done(Key::reserved(9), 4), &mut fired), Next::Stray);
    assert_eq!((state(&slots, key), watch.drops.get()), (Some(State::Queued), 0));
    drop(slots);
    assert_eq!(watch.drops.get(), 1, "the kernel never saw it, so it is freed");
}

#[test]
fn a_cancel_that_loses_the_race_brings_the_result() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let key = slots.insert(send(&socket, &watch, 100, false));
    slots.launch(key).unwrap();
    assert_eq!(slots.orphan(key, &mut fired), Next::Cancel);
    assert!(socket.sending.get() == Sending::UnderWay, "nothing may be sent beside it");
    assert_eq!(slots.complete(done(key, 100), &mut fired), Next::Nothing);
    assert!(socket.sending.get() == Sending::Whole, "all of it went out");
}

#[test]
fn a_part_is_gone_on_with_unless_nothing_waits_for_it() {
    for is_dropped in [false, true] {
        let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
        let key = slots.insert(send(&socket, &watch, 100, true));
        assert!(slots.launch(key).unwrap().is_quiet);
        if is_dropped {
            assert_eq!(slots.orphan(key, &mut fired), Next::Cancel);
        }
        let next = slots.complete(done(key, 60), &mut fired);
        assert_eq!(next, if is_dropped { Next::Nothing } else { Next::Again });
        if is_dropped {
            assert!(socket.sending.get() == Sending::Cut);
            continue;
        }
        assert_eq!((slots.in_kernel(), state(&slots, key)), (0, Some(State::Queued)));
        assert!(!slots.launch(key).unwrap().is_quiet, "the second time aloud");
        slots.end_quietly(key, &mut fired);
        assert_eq!(state(&slots, key), Some(State::InFlight), "its silence says nothing");
        assert_eq!(slots.complete(done(key, 40), &mut fired), Next::Nothing);
        assert!(state(&slots, key) == Some(State::Over(0)) && socket.sending.get() == Sending::Whole);
    }
}

#[test]
fn silence_ends_only_a_quiet_send_that_was_pushed() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let key = slots.insert(send(&socket, &watch, 100, true));
    slots.end_quietly(key, &mut fired);
    assert_eq!(state(&slots, key), Some(State::Queued), "the kernel has not seen it");
    slots.launch(key).unwrap();
    slots.end_quietly(key, &mut fired);
    assert_eq!((state(&slots, key), slots.in_kernel()), (Some(State::Over(0)), 0));
    slots.end_quietly(key, &mut fired);
    assert_eq!(slots.in_kernel(), 0, "once");
    let aloud = slots.insert(send(&socket, &watch, 100, false));
    slots.launch(aloud).unwrap();
    slots.end_quietly(aloud, &mut fired);
    assert_eq!((state(&slots, aloud), slots.in_kernel()), (Some(State::InFlight), 1));
    assert_eq!(slots.complete(done(aloud, 100), &mut fired), Next::Nothing);
}

/// Silence says that everything the submission named was sent. So if it can't name the whole
/// buffer, it must complete visibly.
#[test]
fn only_a_submission_that_names_all_is_quiet() {
    let socket = socket();
    let is_quiet = |buffer| {
        let mut slots = slots();
        let key = slots.insert(Kind::Send(Send::new(Rc::clone(&socket), buffer, true, true)));
        let is_quiet = slots.launch(key).unwrap().is_quiet;
        let _ = slots.complete(done(key, -libc::EPIPE), &mut Fired::default());
        is_quiet
    };
    for (parts, expected) in [(1, true), (1023, true), (1024, true), (1025, false), (3000, false)] {
        assert_eq!(is_quiet(Buffer::to_gather(vec![[7u8]; parts])), expected, "{parts} parts");
        let with_empty_ones: Vec<Vec<u8>> = (0..2 * parts).map(|n| vec![7; n % 2]).collect();
        assert_eq!(is_quiet(Buffer::to_gather(with_empty_ones)), expected, "{parts} parts among empty ones");
    }
    // This memory is reserved, but never touched.
    let huge = Rc::new(vec![0; MOST + 1]);
    let part = |range: Range<usize>| Part(Rc::clone(&huge), range);
    assert!(is_quiet(Buffer::to_send(part(0..MOST))));
    assert!(!is_quiet(Buffer::to_send(part(0..MOST + 1))));
    assert!(is_quiet(Buffer::to_gather(vec![part(1..MOST + 1)])));
    assert!(!is_quiet(Buffer::to_gather(vec![part(0..1), part(1..MOST + 1)])));
}

/// A part of shared memory.
struct Part(Rc<Vec<u8>>, Range<usize>);

impl IoBuf for Part {
    fn bytes(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

/// The kernel counts in an `int`, and cuts longer lengths without an error.
#[test]
fn a_submission_names_what_an_int_can_count() {
    let int = i32::MAX.unsigned_abs() as usize;
    for len in [0, 1, 1000, MOST, MOST + 1, int, int + 1, u32::MAX as usize, 1 << 32, 5 << 30, usize::MAX] {
        let named = clamp(len) as usize;
        assert!(named == len.min(MOST) && named <= int - 65_535, "{named} of {len}");
    }
}

/// A leaked future costs memory, but no descriptor.
#[test]
fn what_is_over_lets_go_of_its_file() {
    let (mut slots, mut fired) = (slots(), Fired::default());
    let (fd, socket) = (Rc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap())), socket::<Chunk>());
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
    let kinds = [
        Kind::Poll(Rc::clone(&fd)),
        Kind::Connect(Connect::new(Rc::clone(&socket), addr)),
        send(&socket, &Watch::default(), 10, false),
    ];
    for (kind, result) in kinds.into_iter().zip([1, 0, 10]) {
        let key = slots.insert(kind);
        slots.launch(key).unwrap();
        assert_eq!(slots.complete(done(key, result), &mut fired), Next::Nothing);
        assert!(matches!(state(&slots, key), Some(State::Over(_))), "its future has not come for the result");
    }
    assert_eq!((Rc::strong_count(&fd), Rc::strong_count(&socket)), (1, 1));
}

#[test]
fn a_gather_goes_on_where_it_stopped() {
    let parts: Vec<Vec<u8>> = (0..3000).map(|n| vec![7; n % 3]).collect();
    let total: usize = parts.iter().map(Vec::len).sum();
    let mut buffer = Buffer::to_gather(parts);
    let gather = buffer.gather().expect("several buffers");
    let (mut sent, mut pieces) = (0, 0);
    while sent < total {
        let part = gather.after(sent);
        assert!((1..=1024).contains(&part.count) && part.bytes > 0);
        sent += part.bytes.min(1500);
        pieces += 1;
    }
    assert_eq!((sent, gather.after(total).bytes), (total, 0));
    assert!(pieces >= 2);
}

/// A send whose buffer is not kept leaves an idle slot if it succeeds, and an error if it fails.
#[test]
fn a_send_that_is_not_kept_leaves_nothing_behind() {
    for (result, left) in [(0, State::Idle), (-libc::EPIPE, State::Over(-libc::EPIPE))] {
        let (mut slots, socket, watch, mut fired) = (slots(), socket::<Chunk>(), Watch::default(), Fired::default());
        let wakes = Arc::new(CountsWakes(AtomicU32::new(0)));
        socket.incoming.waiting.set(&Waker::from(Arc::clone(&wakes)));
        let buffer = Buffer::to_send(watch.buffer(100));
        let key = slots.insert(Kind::Send(Send::new(Rc::clone(&socket), buffer, true, true).to(Purpose::Exchange)));
        slots.launch(key).unwrap();
        match result {
            0 => slots.end_quietly(key, &mut fired),
            errno => assert_eq!(slots.complete(done(key, errno), &mut fired), Next::Nothing),
        }
        fired.run();
        assert_eq!((state(&slots, key), slots.in_kernel()), (Some(left), 0));
        assert_eq!(watch.drops.get(), u32::from(result == 0));
        // The exchange waits for the receive, and would wait forever.
        assert_eq!(wakes.0.load(Ordering::Relaxed), u32::from(result < 0));
        // A successful send has dropped its reference to the file. A failed one does so when its
        // future gets the error, or when the socket is dropped.
        assert_eq!(Rc::strong_count(&socket), 1 + usize::from(result < 0));
        assert_eq!(slots.retire(key, &mut Fired::default()), Next::Nothing);
        assert_eq!((Rc::strong_count(&socket), slots.table.len()), (1, 0));
    }
}

/// The sends of a stream share one slot. Each has a name of its own, so nothing late finds the next
/// one: no completion, no ticket.
#[test]
fn a_stream_sends_from_one_slot_under_new_names() {
    let (mut slots, socket, watch, mut fired) = (slots(), socket(), Watch::default(), Fired::default());
    let mut names = Vec::new();
    for round in 0..3 {
        let key = slots.insert(send(&socket, &watch, 100, true));
        assert!(socket.send_slot.get() == key && socket.sending.get() == Sending::UnderWay);
        assert!(!names.contains(&key));
        slots.launch(key).unwrap();
        for old in &names {
            assert_eq!(slots.complete(done(*old, 100), &mut fired), Next::Stray);
            slots.end_quietly(*old, &mut fired);
            assert!(matches!(slots.ask(*old, Waker::noop()), Asked::Gone));
            assert_eq!(slots.orphan(*old, &mut fired), Next::Nothing);
        }
        assert_eq!((state(&slots, key), slots.in_kernel()), (Some(State::InFlight), 1), "round {round}");
        slots.end_quietly(key, &mut fired);
        assert!(matches!(slots.ask(key, Waker::noop()), Asked::Over(0, Some(_))));
        assert_eq!((state(&slots, key), slots.table.len()), (Some(State::Idle), 1));
        assert!(matches!(slots.ask(key, Waker::noop()), Asked::Gone), "once");
        names.push(key);
    }
    // A leaked future has not come for its result: the next send needs a slot of its own.
    let leaked = slots.insert(send(&socket, &watch, 100, true));
    slots.launch(leaked).unwrap();
    slots.end_quietly(leaked, &mut fired);
    let next = slots.insert(send(&socket, &watch, 100, true));
    assert_eq!((state(&slots, leaked), slots.table.len()), (Some(State::Over(0)), 2));
    assert_eq!(slots.retire(next, &mut fired), Next::Nothing);
    assert_eq!(slots.table.len(), 1);
}

#[test]
fn the_end_leaves_only_what_the_kernel_holds() {
    let (mut slots, mut fired) = (slots(), Fired::default());
    let watches: Vec<Watch> = (0..4).map(|_| Watch::default()).collect();
    let sockets: Vec<Rc<Socket<Chunk>>> = (0..4).map(|_| socket()).collect();
    let keys: Vec<Key> = (0..4).map(|n| slots.insert(read(&sockets[n], &watches[n], 8))).collect();
    slots.launch(keys[1]).unwrap();
    slots.launch(keys[2]).unwrap();
    slots.launch(keys[3]).unwrap();
    let _ = slots.complete(done(keys[3], 8), &mut fired);
    assert_eq!(slots.orphan(keys[2], &mut fired), Next::Cancel);
    let ending = slots.end([keys[0]].into_iter(), &mut fired);
    assert_eq!((ending.under_way, ending.leaked), (vec![keys[1], keys[2]], 3));
    assert_eq!(state(&slots, keys[0]), Some(State::Over(-libc::ECANCELED)));
    for key in [keys[1], keys[2]] {
        assert_eq!(slots.complete(done(key, -libc::ECANCELED), &mut fired), Next::Nothing);
    }
    assert_eq!(slots.in_kernel(), 0);
    // A send that was cut short does not continue.
    let key = slots.insert(send(&sockets[0], &watches[0], 100, false));
    slots.launch(key).unwrap();
    assert_eq!(slots.complete(done(key, 10), &mut fired), Next::Nothing);
    assert_eq!(state(&slots, key), Some(State::Over(-libc::ECANCELED)));
}

/// The barrier: whatever drops the table, it leaks and counts what the kernel holds.
#[test]
fn a_table_that_goes_while_the_kernel_holds_it_leaks_it() {
    let (held, free) = (Watch::default(), Watch::default());
    let socket = socket();
    let pool = pool(true);
    assert!(pool.has_room(Group::Streams));
    let mut slots = Slots::new(Rc::clone(&pool));
    let in_kernel = slots.insert(read(&socket, &held, 8));
    slots.launch(in_kernel).unwrap();
    held.held.set(true);
    let queued = slots.insert(send(&socket, &free, 8, true));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _goes_by_unwinding = slots;
        std::panic::resume_unwind(Box::new("foreign code"));
    }));
    assert!(ended.is_err());
    assert_eq!(held.drops.get(), 0, "the kernel may still write there");
    assert!(pool.retire().iter().all(Option::is_none), "the receive buffers went the same way");
    // This one is leaked with the rest, because the table is leaked as a whole.
    assert_eq!((free.drops.get(), queued == in_kernel), (0, false));
    assert_eq!(Rc::strong_count(&socket), 3);
}

#[test]
fn abandoning_counts_what_the_kernel_holds() {
    let (mut slots, socket, watch) = (slots(), socket(), Watch::default());
    let key = slots.insert(read(&socket, &watch, 8));
    slots.launch(key).unwrap();
    watch.held.set(true);
    slots.abandon();
    assert_eq!((slots.abandoned(), slots.in_kernel()), (1, 1));
    assert_eq!(slots.complete(done(key, 8), &mut Fired::default()), Next::Stray);
    drop(slots);
    assert_eq!(watch.drops.get(), 0);
}

/// A buffer that the kernel picked is taken once.
#[test]
fn a_picked_buffer_is_taken_once() {
    let pool = pool(false);
    assert!(pool.has_room(Group::Streams));
    let (mut slots, socket, mut fired) = (Slots::new(Rc::clone(&pool)), socket(), Fired::default());
    let key = slots.insert(Kind::RecvMultishot(RecvMultishot { socket: Rc::clone(&socket) }));
    slots.launch(key).unwrap();
    let picked = |result| Completion::for_test(key, result, MORE | BUFFER | 5 << 16);
    for _ in 0..2 {
        assert_eq!(slots.complete(picked(9), &mut fired), Next::Nothing);
    }
    assert_eq!(socket.incoming.take().unwrap().unwrap().unwrap().len(), 9);
    assert!(socket.incoming.take().is_none(), "the second report named nothing of ours");
    assert_eq!(slots.complete(done(key, -libc::ECANCELED), &mut fired), Next::Nothing);
}

/// A block that is filled piece by piece is the kernel's until it is full. It goes back when no
/// piece of it is left.
#[test]
fn a_block_is_shared_by_the_receives_that_fill_it() {
    let pool = pool(true);
    assert!(pool.has_room(Group::Streams));
    let stock = pool.bytes();
    let (mut slots, mut fired) = (Slots::new(Rc::clone(&pool)), Fired::default());
    let sockets = [socket(), socket()];
    let keys =
        sockets.each_ref().map(|socket| slots.insert(Kind::RecvMultishot(RecvMultishot { socket: Rc::clone(socket) })));
    assert!(keys.iter().all(|key| slots.launch(*key).is_some()));
    let mut place = 0;
    let mut arrive = |slots: &mut Slots, at: usize, len: usize| {
        let kept = if place + len < BLOCK_SIZE { KEPT } else { 0 };
        let completion = Completion::for_test(keys[at], i32::try_from(len).unwrap(), MORE | BUFFER | kept | 5 << 16);
        assert_eq!(slots.complete(completion, &mut fired), Next::Nothing);
        place += len;
        (sockets[at].incoming.take().unwrap().unwrap().unwrap(), place - len)
    };
    let (first, _) = arrive(&mut slots, 0, 10);
    let (second, at) = arrive(&mut slots, 1, 20);
    assert_eq!(second.as_ptr() as usize, first.as_ptr() as usize + at, "it lies behind the first");
    let (rest, _) = arrive(&mut slots, 0, BLOCK_SIZE - 30);
    assert_eq!((rest.len(), pool.lent(), pool.given(Group::Streams)), (BLOCK_SIZE - 30, 3, 31));
    drop((first, rest));
    assert_eq!(pool.given(Group::Streams), 31, "one piece is left");
    drop(second);
    assert_eq!((pool.lent(), pool.given(Group::Streams), pool.bytes()), (0, 32, stock));
    for key in keys {
        assert_eq!(slots.complete(done(key, -libc::ECANCELED), &mut Fired::default()), Next::Nothing);
    }
    drop(slots);
    assert_eq!(pool.given(Group::Streams), 0, "the blocks go with the table");
}

/// If the kernel gives up a block that we take for half full, nothing says where its next bytes are.
#[test]
fn a_block_that_the_kernel_counts_otherwise_is_an_error() {
    let pool = pool(true);
    assert!(pool.has_room(Group::Streams));
    let given_up = Completion::for_test(Key::reserved(1), 9, BUFFER | 5 << 16);
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.take(Group::Streams, &given_up)));
    let text = *taken.unwrap_err().downcast::<&str>().unwrap();
    assert!(text.contains("disagree about a receive buffer"), "{text}");
    // The blocks and their pool refer to each other.
    drop(pool.retire());
}

/// The kernel never runs out of blocks under a steady load: more are made before it has none.
/// Blocks that no turn needs for long are freed.
#[test]
fn blocks_grow_before_they_run_out_and_shrink_when_they_are_not_needed() {
    let pool = pool(false);
    assert!(pool.has_room(Group::Streams));
    let first = pool.bytes();
    let take = |count: usize| (0..count).filter_map(|_| pool.take_first(Group::Streams)).collect::<Vec<_>>();
    let lent = take(24);
    assert_eq!((lent.len(), pool.bytes()), (24, first));
    pool.end_turn();
    assert_eq!((pool.bytes(), pool.given(Group::Streams)), (2 * first, 40), "a quarter was left");
    drop(lent);
    for _ in 0..1024 {
        pool.end_turn();
    }
    for _ in 0..64 {
        drop(take(1));
    }
    assert_eq!(pool.bytes(), first + first / 2, "a quarter of them goes at each look");
    drop(pool.retire());
}

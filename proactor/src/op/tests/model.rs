//! Random scripts against a model that knows what the kernel holds.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One step of a random script. The numbers choose among the operations that exist.
#[derive(Clone, Debug)]
enum Step {
    Read { len: usize },
    Send { len: usize, is_quiet: bool, purpose: Purpose },
    SendAgain { which: usize, len: usize, is_quiet: bool, purpose: Purpose },
    Retire(usize),
    Launch(usize),
    Complete { which: usize, result: i32 },
    Silence(usize),
    Drop(usize),
    Poll(usize),
    Repeat(usize),
    Fire,
}

fn purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![Just(Purpose::Write), Just(Purpose::Exchange), Just(Purpose::Feed)]
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0usize..64;
    prop_oneof![
        3 => (1usize..200).prop_map(|len| Step::Read { len }),
        3 => (1usize..200, any::<bool>(), purpose())
            .prop_map(|(len, is_quiet, purpose)| Step::Send { len, is_quiet, purpose }),
        3 => (number.clone(), 1usize..200, any::<bool>(), purpose())
            .prop_map(|(which, len, is_quiet, purpose)| Step::SendAgain { which, len, is_quiet, purpose }),
        1 => number.clone().prop_map(Step::Retire),
        6 => number.clone().prop_map(Step::Launch),
        6 => (number.clone(), prop_oneof![-150i32..0, 0i32..220, Just(-libc::EINTR), Just(-libc::EAGAIN)])
            .prop_map(|(which, result)| Step::Complete { which, result }),
        3 => number.clone().prop_map(Step::Silence),
        3 => number.clone().prop_map(Step::Drop),
        3 => number.clone().prop_map(Step::Poll),
        1 => number.prop_map(Step::Repeat),
        1 => Just(Step::Fire),
    ]
}

/// An operation in the model.
struct Modelled {
    socket: Rc<Socket<Chunk>>,
    watch: Watch,
    is_read: bool,
    /// Bytes left to move.
    left: usize,
    is_pushed: bool,
    is_quiet: bool,
    /// Whether its ticket still exists.
    has_ticket: bool,
    is_over: bool,
    purpose: Purpose,
}

/// The table, beside a model of what the kernel holds.
struct Model {
    slots: Slots,
    fired: Fired,
    operations: BTreeMap<u64, Modelled>,
    /// The names of operations that have ended.
    ended: RefCell<Vec<u64>>,
}

impl Model {
    fn pick(&self, which: usize, is_meant: impl Fn(&Modelled) -> bool) -> Option<Key> {
        let all: Vec<u64> = self.operations.iter().filter(|(_, it)| is_meant(it)).map(|(name, _)| *name).collect();
        all.get(which % all.len().max(1)).map(|name| Key::from_u64(*name))
    }

    fn insert(
        &mut self,
        socket: Rc<Socket<Chunk>>,
        is_read: bool,
        len: usize,
        is_quiet: bool,
        purpose: Purpose,
    ) -> Key {
        let watch = Watch::default();
        let kind = match (is_read, send(&socket, &watch, len, is_quiet)) {
            (true, other) => {
                drop(other);
                watch.drops.set(0);
                read(&socket, &watch, len)
            }
            (false, Kind::Send(send)) => Kind::Send(send.to(purpose)),
            (false, _) => unreachable!("a send"),
        };
        let key = self.slots.insert(kind);
        let modelled = Modelled {
            socket,
            watch,
            is_read,
            left: len,
            is_pushed: false,
            is_quiet,
            has_ticket: true,
            is_over: false,
            purpose,
        };
        self.operations.insert(key.to_u64(), modelled);
        key
    }

    /// Sends again on a stream whose last send is over, and has no future any more.
    fn send_again(&mut self, old: Key, len: usize, is_quiet: bool, purpose: Purpose) {
        let is_idle = state(&self.slots, old) == Some(State::Idle);
        let Modelled { socket, watch, .. } = self.operations.remove(&old.to_u64()).unwrap();
        std::mem::take(&mut self.fired).run();
        assert_eq!(watch.drops.get(), 1);
        let slots_before = self.slots.table.len();
        let new = self.insert(socket, false, len, is_quiet, purpose);
        assert_ne!(new, old, "a late report of the old one must not find it");
        assert_eq!(self.slots.table.len() - slots_before, usize::from(!is_idle), "it takes the idle slot");
    }

    fn end(&mut self, key: Key) {
        let it = self.operations.get_mut(&key.to_u64()).unwrap();
        it.watch.held.set(false);
        (it.is_pushed, it.is_over) = (false, true);
        self.ended.borrow_mut().push(key.to_u64());
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Read { len } => {
                self.insert(socket(), true, len, false, Purpose::Write);
            }
            Step::Send { len, is_quiet, purpose } => {
                self.insert(socket(), false, len, is_quiet, purpose);
            }
            Step::SendAgain { which, len, is_quiet, purpose } => {
                let is_left = |it: &Modelled| !it.is_read && it.is_over && !it.has_ticket;
                let Some(old) = self.pick(which, is_left) else { return };
                self.send_again(old, len, is_quiet, purpose);
            }
            Step::Retire(which) => {
                let Some(key) = self.pick(which, |it| !it.is_read && it.is_over && !it.has_ticket) else { return };
                assert_eq!(self.slots.retire(key, &mut self.fired), Next::Nothing);
                assert_eq!(state(&self.slots, key), None);
            }
            Step::Launch(which) => {
                let Some(key) = self.pick(which, |it| !it.is_pushed && !it.is_over && it.has_ticket) else { return };
                let it = self.operations.get_mut(&key.to_u64()).unwrap();
                let launched = self.slots.launch(key).expect("it waits");
                assert_eq!(launched.is_quiet, it.is_quiet);
                it.is_pushed = true;
                it.watch.held.set(true);
            }
            Step::Complete { which, result } => {
                let Some(key) = self.pick(which, |it| it.is_pushed) else { return };
                self.complete(key, result);
            }
            Step::Silence(which) => {
                let Some(key) = self.pick(which, |_| true) else { return };
                if self.operations[&key.to_u64()].is_pushed && self.operations[&key.to_u64()].is_quiet {
                    self.end(key);
                    self.operations.get_mut(&key.to_u64()).unwrap().left = 0;
                }
                self.slots.end_quietly(key, &mut self.fired);
            }
            Step::Drop(which) => {
                let Some(key) = self.pick(which, |it| it.has_ticket) else { return };
                let it = self.operations.get_mut(&key.to_u64()).unwrap();
                it.has_ticket = false;
                let next = self.slots.orphan(key, &mut self.fired);
                assert_eq!(next == Next::Cancel, it.is_pushed);
                it.is_over |= !it.is_pushed;
            }
            Step::Poll(which) => {
                let Some(key) = self.pick(which, |it| it.has_ticket && it.is_over) else { return };
                let it = self.operations.get_mut(&key.to_u64()).unwrap();
                it.has_ticket = false;
                if let Asked::Over(_, Some(buffer)) = self.slots.ask(key, Waker::noop()) {
                    drop(buffer.unstow::<Watched>());
                }
            }
            Step::Repeat(which) => {
                let name = self.ended.borrow().get(which).copied();
                let Some(name) = name else { return };
                assert_eq!(self.slots.complete(done(Key::from_u64(name), 1), &mut self.fired), Next::Stray);
            }
            Step::Fire => std::mem::take(&mut self.fired).run(),
        }
    }

    fn complete(&mut self, key: Key, result: i32) {
        let it = self.operations.get_mut(&key.to_u64()).unwrap();
        // The kernel moves no more than it was asked to.
        let result = result.min(i32::try_from(it.left).unwrap());
        let is_retried = result == -libc::EINTR || (it.is_quiet && result == -libc::EAGAIN);
        let is_part = !it.is_read && result > 0 && usize::try_from(result).unwrap() < it.left;
        let goes_on = it.has_ticket && (is_retried || is_part);
        if !it.is_read && result > 0 {
            it.left -= usize::try_from(result).unwrap();
        }
        // It completes visibly from now on, unless it was only interrupted.
        it.is_quiet &= result == -libc::EINTR;
        if goes_on {
            it.is_pushed = false;
            it.watch.held.set(false);
        } else {
            self.end(key);
        }
        let next = self.slots.complete(done(key, result), &mut self.fired);
        assert_eq!(next, if goes_on { Next::Again } else { Next::Nothing });
    }

    /// Checks what must be true after every step.
    fn check(&self) {
        let pushed = self.operations.values().filter(|it| it.is_pushed).count();
        assert_eq!(self.slots.in_kernel(), pushed);
        for (name, it) in &self.operations {
            let operation = self.slots.table.get(Key::from_u64(*name));
            assert!(!it.is_pushed || operation.is_some_and(|operation| operation.state.is_in_kernel()), "{name}");
            let is_free = operation.is_none_or(|operation| !it.is_read && operation.state == State::Idle);
            assert!(it.has_ticket || it.is_pushed || is_free, "{name}: a slot that nothing needs");
            assert!(it.watch.drops.get() <= 1 && (!it.is_pushed || it.watch.drops.get() == 0));
            if !it.is_read {
                let expected = match (it.is_over, it.left) {
                    (false, _) if it.purpose == Purpose::Feed => Sending::Fed,
                    (false, _) => Sending::UnderWay,
                    (true, 0) => Sending::Whole,
                    // It stays so until the next send, also if the program knows the error.
                    (true, _) if it.purpose == Purpose::Feed => Sending::Fed,
                    (true, _) => Sending::Cut,
                };
                assert!(it.socket.sending.get() == expected, "{name}: {} left", it.left);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_kernel_keeps_what_it_holds(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model {
            slots: slots(),
            fired: Fired::default(),
            operations: BTreeMap::new(),
            ended: RefCell::default(),
        };
        for step in &steps {
            model.take(step);
            model.check();
        }
        // The barrier leaks sockets too, so most scripts end in order.
        while let Some(key) = model.pick(0, |it| it.is_pushed).filter(|_| steps.len() % 16 != 0) {
            model.complete(key, -libc::ECANCELED);
            model.check();
        }
        let Model { slots, fired, operations, .. } = model;
        fired.run();
        let in_kernel = slots.in_kernel();
        drop(slots);
        for it in operations.values() {
            // No buffer is freed while the kernel holds it. If the kernel holds nothing, no buffer
            // is left.
            prop_assert!(!it.is_pushed || it.watch.drops.get() == 0);
            prop_assert!(in_kernel > 0 || it.watch.drops.get() == 1);
            it.watch.held.set(false);
        }
    }
}

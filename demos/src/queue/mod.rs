//! Producers and consumers over a bounded queue: back-pressure, made visible.
//!
//! ```sh
//! demos queue                                   # producers that are faster than the consumer
//! demos queue --consumers 8                     # the other way round: who waits now?
//! ```
//!
//! A queue between two who work at different speeds is either empty or full most of the time. If it is bounded, the
//! faster side waits: a full queue holds up the producers until a consumer has made room. That is *back-pressure*, and
//! it is what keeps the memory of a program in bounds when more comes in than goes out. Without a bound nobody waits,
//! until there is no memory left. A longer queue evens out bursts; it makes nobody faster.
//!
//! The queue is `async_channel::bounded`: to send is to wait for room, to receive is to wait for an item, and both are
//! futures that run on any runtime. [`run`] writes down each item that goes in or comes out, when, and after how long a
//! wait; all tasks are on one thread, so the record has the order in which it happened.
//!
//! Files: this one (the program), `timeline.rs` (its record as a picture).

mod timeline;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use executor::{JoinError, Runtime};

pub use timeline::timeline;

/// What is to happen.
#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    /// Tasks that put items into the queue, 16 at most
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub producers: u16,

    /// Tasks that take items out of the queue, 16 at most
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub consumers: u16,

    /// Items that fit into the queue, 1,000,000 at most
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub capacity: u32,

    /// Items that each producer makes, 10,000 at most
    #[arg(long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub items: u32,

    /// Milliseconds it takes to make an item, 1,000 at most
    #[arg(long, value_name = "MS", default_value = "10", value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub produce: u64,

    /// Milliseconds it takes to use an item, 1,000 at most
    #[arg(long, value_name = "MS", default_value = "20", value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub consume: u64,
}

/// Who does something; each side is counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    /// Puts in.
    Producer(u16),
    /// Takes out.
    Consumer(u16),
}

/// An item: who has made it, and as which of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The producer.
    pub producer: u16,
    /// Counted from 0.
    pub number: u32,
}

/// An item went in or came out.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When, since the beginning.
    pub at: Duration,
    /// Who did it.
    pub actor: Actor,
    /// With which one.
    pub item: Item,
    /// How long the queue has held the actor up before.
    pub waited: Duration,
    /// How many items are in the queue after that.
    pub depth: usize,
}

/// A consumer has waited for an item, and none came any more.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// When, since the beginning.
    pub at: Duration,
    /// Who it was.
    pub actor: Actor,
    /// How long it had waited.
    pub waited: Duration,
}

/// All that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// In the order in which it happened.
    pub events: Vec<Event>,
    /// One for each consumer.
    pub ends: Vec<End>,
    /// When all was done.
    pub ended: Duration,
}

impl Record {
    /// How many items somebody has put in or taken out, and how long the queue has held it up.
    #[must_use]
    pub fn of(&self, actor: Actor) -> (usize, Duration) {
        let items = self.events.iter().filter(|event| event.actor == actor).count();
        (items, self.waits(actor).map(|(_, waited)| waited).sum())
    }

    /// The waits of somebody, in their order: when each was over, and how long it took, which may be no time at all.
    pub fn waits(&self, actor: Actor) -> impl Iterator<Item = (Duration, Duration)> {
        let events = self.events.iter().map(|event| (event.actor, event.at, event.waited));
        let all = events.chain(self.ends.iter().map(|end| (end.actor, end.at, end.waited)));
        all.filter(move |wait| wait.0 == actor).map(|(_, at, waited)| (at, waited))
    }

    /// The most items that were ever in the queue.
    #[must_use]
    pub fn deepest(&self) -> usize {
        self.events.iter().map(|event| event.depth).max().unwrap_or(0)
    }
}

impl Plan {
    /// Everybody who takes part.
    pub fn actors(&self) -> impl Iterator<Item = Actor> + use<> {
        (0..self.producers).map(Actor::Producer).chain((0..self.consumers).map(Actor::Consumer))
    }
}

/// Where everybody writes down what it does.
struct Log<R> {
    rt: R,
    start: Instant,
    events: RefCell<Vec<Event>>,
    ends: RefCell<Vec<End>>,
}

impl<R: Runtime> Log<R> {
    fn write(&self, actor: Actor, item: Item, since: Instant, depth: usize) {
        let now = self.rt.now();
        let event = Event { at: now - self.start, actor, item, waited: now - since, depth };
        self.events.borrow_mut().push(event);
    }

    fn end(&self, actor: Actor, since: Instant) {
        let now = self.rt.now();
        self.ends.borrow_mut().push(End { at: now - self.start, actor, waited: now - since });
    }
}

/// Does what is planned, to the last item.
///
/// # Errors
/// A task that could not run to its end.
pub async fn run<R: Runtime>(rt: &R, plan: &Plan) -> Result<Record, JoinError> {
    let log = Rc::new(Log { rt: rt.clone(), start: rt.now(), events: RefCell::default(), ends: RefCell::default() });
    let (sender, receiver) = bounded(plan.capacity as usize);
    let mut tasks = Vec::new();
    for number in 0..plan.producers {
        tasks.push(rt.spawn(produce(Rc::clone(&log), plan.clone(), number, sender.clone())));
    }
    for number in 0..plan.consumers {
        tasks.push(rt.spawn(consume(Rc::clone(&log), plan.clone(), number, receiver.clone())));
    }
    // When the last producer drops its own, the queue is closed, and the consumers end when it is empty.
    drop((sender, receiver));
    for task in tasks {
        task.await?;
    }
    let ended = rt.now() - log.start;
    Ok(Record { events: log.events.take(), ends: log.ends.take(), ended })
}

async fn produce<R: Runtime>(log: Rc<Log<R>>, plan: Plan, producer: u16, queue: Sender<Item>) {
    for number in 0..plan.items {
        log.rt.sleep(Duration::from_millis(plan.produce)).await;
        let item = Item { producer, number };
        let since = log.rt.now();
        if queue.send(item).await.is_err() {
            return;
        }
        log.write(Actor::Producer(producer), item, since, queue.len());
    }
}

async fn consume<R: Runtime>(log: Rc<Log<R>>, plan: Plan, consumer: u16, queue: Receiver<Item>) {
    loop {
        let since = log.rt.now();
        let Ok(item) = queue.recv().await else { return log.end(Actor::Consumer(consumer), since) };
        log.write(Actor::Consumer(consumer), item, since, queue.len());
        log.rt.sleep(Duration::from_millis(plan.consume)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use fastrand::Rng;
    use sim::{Sim, Weather};

    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn plan(producers: u16, consumers: u16, capacity: u32, items: u32, produce: u64, consume: u64) -> Plan {
        Plan { producers, consumers, capacity, items, produce, consume }
    }

    /// What must be true of every record: the queue is one, in its order, of its size, and each item goes through it once.
    fn check(plan: &Plan, record: &Record) {
        let (mut queue, mut seen) = (VecDeque::new(), HashSet::new());
        for event in &record.events {
            match event.actor {
                Actor::Producer(number) => {
                    assert!(event.item.producer == number && seen.insert(event.item), "{event:?}");
                    queue.push_back(event.item);
                }
                Actor::Consumer(_) => assert_eq!(queue.pop_front(), Some(event.item), "{event:?}"),
            }
            assert!(event.depth == queue.len() && event.depth <= plan.capacity as usize, "{event:?}");
        }
        assert!(queue.is_empty());
        assert_eq!(seen.len(), usize::from(plan.producers) * plan.items as usize);
    }

    #[test]
    fn a_full_queue_holds_up_the_producer_to_the_millisecond() {
        let sim = Sim::calm(0);
        let plan = plan(1, 1, 2, 6, 1, 10);
        let record = sim.block_on(run(&sim, &plan)).unwrap();
        check(&plan, &record);
        let sent: Vec<_> =
            record.events.iter().filter(|event| event.actor == Actor::Producer(0)).map(|event| event.at).collect();
        // The first is taken at once, two find room, and then one goes in for each that comes out.
        assert_eq!(sent, [ms(1), ms(2), ms(3), ms(11), ms(21), ms(31)]);
        assert_eq!(record.of(Actor::Producer(0)), (6, ms(7 + 9 + 9)));
        assert_eq!((record.of(Actor::Consumer(0)), record.ended, record.deepest()), ((6, ms(1)), ms(61), 2));
        sim.finish();
    }

    #[test]
    fn with_room_for_all_no_producer_waits_and_all_is_in_memory() {
        let sim = Sim::calm(0);
        let plan = plan(2, 1, 100, 20, 1, 10);
        let record = sim.block_on(run(&sim, &plan)).unwrap();
        check(&plan, &record);
        assert_eq!((record.of(Actor::Producer(0)), record.of(Actor::Producer(1))), ((20, ms(0)), (20, ms(0))));
        assert!(record.deepest() > 35, "{}", record.deepest());
        sim.finish();
    }

    #[test]
    fn consumers_that_are_faster_wait_for_items() {
        let sim = Sim::calm(0);
        let plan = plan(1, 2, 8, 10, 10, 1);
        let record = sim.block_on(run(&sim, &plan)).unwrap();
        check(&plan, &record);
        assert_eq!((record.of(Actor::Producer(0)).1, record.deepest()), (ms(0), 1));
        assert!(record.of(Actor::Consumer(0)).1 + record.of(Actor::Consumer(1)).1 > ms(80));
        sim.finish();
    }

    #[test]
    fn a_consumer_without_an_item_has_waited_all_the_time() {
        let sim = Sim::calm(0);
        let plan = plan(1, 3, 8, 2, 10, 5);
        let record = sim.block_on(run(&sim, &plan)).unwrap();
        check(&plan, &record);
        // The queue ends with the last item, after 20 ms; who has taken that one, after the work on it.
        let mut waited: Vec<_> = (0..3).map(|number| record.of(Actor::Consumer(number))).collect();
        waited.sort();
        assert_eq!(waited, [(0, ms(20)), (1, ms(15)), (1, ms(20))]);
        sim.finish();
    }

    #[test]
    fn every_item_goes_through_once_whatever_the_plan_and_the_weather() {
        sim::for_each_seed(200, |seed| {
            let mut random = Rng::with_seed(seed);
            let plan = plan(
                random.u16(1..6),
                random.u16(1..6),
                random.u32(1..9),
                random.u32(1..30),
                random.u64(0..4),
                random.u64(0..4),
            );
            let sim = sim::Builder::new(seed).weather(Weather::stormy()).build();
            let record = sim.block_on(run(&sim, &plan)).unwrap();
            check(&plan, &record);
            sim.finish();
        });
    }
}

//! A ring in one process, look-ups on it, and what they cost.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_lock::Semaphore;
use executor::{JoinHandle, Net};
use fastrand::Rng;

use super::lookup::{Answer, Routing, lookup, repair};
use super::node::{Node, World};
use super::ring::{Contact, id_of, owner};

/// Look-ups under way at a time.
const AT_A_TIME: usize = 32;

/// How long it may take after a trial until nothing is on its way.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nodes of the ring.
    pub nodes: usize,
    /// Look-ups of each kind.
    pub lookups: usize,
    /// How long a datagram is on its way.
    pub delay: Duration,
    /// How long to wait before a node counts as dead.
    pub timeout: Duration,
    /// Where chance comes from.
    pub seed: u64,
}

/// A ring at work. Its tasks end when the runtime is stopped.
pub struct Trial<R: Net> {
    rt: R,
    plan: Plan,
    nodes: Vec<Rc<Node<R>>>,
    world: Rc<World>,
    tasks: Vec<JoinHandle<io::Result<()>>>,
}

/// What some look-ups cost.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How many.
    pub lookups: u64,
    /// That found the node which has the key.
    pub right: u64,
    /// That found another one.
    pub wrong: u64,
    /// Datagrams, of all together.
    pub messages: u64,
    /// Steps, of those that found something.
    pub hops: u64,
    /// In microseconds, sorted.
    pub times: Vec<u64>,
    /// Times that askers waited for nothing.
    pub timeouts: u64,
    /// Dead nodes that askers found out about.
    pub learned_by_askers: u64,
    /// Dead nodes that others found out about.
    pub learned_by_others: u64,
}

impl<R: Net> Trial<R> {
    /// Makes the ring: each node has a socket on this address, and a task.
    ///
    /// # Errors
    /// Those of making the sockets.
    pub fn new(rt: &R, plan: Plan, first: SocketAddr) -> io::Result<Trial<R>> {
        let mut sockets = Vec::with_capacity(plan.nodes);
        for number in 0..plan.nodes {
            let port = if number == 0 { first.port() } else { 0 };
            let socket = rt.bind_udp(SocketAddr::new(first.ip(), port))?;
            let at = socket.local_addr()?;
            sockets.push((Contact { id: id_of(&at.to_string()), at }, socket));
        }
        let mut ring: Vec<Contact> = sockets.iter().map(|(contact, _)| *contact).collect();
        ring.sort_by_key(|contact| contact.id);
        let (delay, timeout) = (plan.delay, plan.timeout);
        let world =
            Rc::new(World { delay, timeout, messages: Default::default(), learned_on_the_way: Default::default() });
        let nodes: Vec<_> =
            sockets.into_iter().map(|(contact, socket)| Node::new(rt, contact, socket, &ring, &world)).collect();
        let tasks = nodes.iter().map(|node| rt.spawn(Rc::clone(node).run())).collect();
        Ok(Trial { rt: rt.clone(), plan, nodes, world, tasks })
    }

    /// Where the first node is.
    pub fn first(&self) -> SocketAddr {
        self.nodes[0].me.at
    }

    /// Has so many nodes fall silent, but never the first, and forgets what was found out about earlier ones.
    pub fn kill(&self, dead: usize) {
        let mut others: Vec<_> = self.nodes[1..].iter().collect();
        Rng::with_seed(self.plan.seed).shuffle(&mut others);
        for (number, node) in others.into_iter().enumerate() {
            node.lives.set(number >= dead);
        }
        for node in &self.nodes {
            node.dead.borrow_mut().clear();
        }
    }

    /// Has all nodes that live find out anew whom they have to know, at the same time. Returns how many datagrams it took.
    pub async fn repair(&self) -> u64 {
        self.world.messages.set(0);
        let living = self.nodes.iter().filter(|node| node.lives.get()).cloned();
        let repairs: Vec<_> = living.map(|node| self.rt.spawn(async move { repair(&node).await })).collect();
        for repair in repairs {
            // It can't be aborted, and what panics in it is reported.
            let _ = repair.await;
        }
        self.quieten().await;
        self.world.messages.get()
    }

    /// Looks keys up, each from a node that lives, and some at a time.
    pub async fn run(&self, routing: Routing) -> Figures {
        let living: Vec<_> = self.nodes.iter().filter(|node| node.lives.get()).collect();
        let mut ring: Vec<Contact> = living.iter().map(|node| node.me).collect();
        ring.sort_by_key(|contact| contact.id);
        self.world.messages.set(0);
        self.world.learned_on_the_way.set(0);
        let mut random = Rng::with_seed(self.plan.seed + 1);
        let (ring, figures) = (Rc::new(ring), Rc::new(RefCell::new(Figures::default())));
        // A task for each look-up, and as many of them at a time as there are permits.
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        for _ in 0..self.plan.lookups {
            let (asker, key) = (Rc::clone(living[random.usize(..living.len())]), random.u64(..));
            let (rt, ring, figures) = (self.rt.clone(), Rc::clone(&ring), Rc::clone(&figures));
            let permit = permits.acquire_arc().await;
            let looking = async move {
                let begun = rt.now();
                let answer = lookup(&asker, key, routing).await;
                figures.borrow_mut().add(&answer, owner(&ring, key), rt.now() - begun);
                drop(permit);
            };
            self.rt.spawn(looking).detach();
        }
        // Who has all permits knows that nobody else has one: all look-ups have ended.
        for _ in 0..AT_A_TIME {
            permits.acquire().await.forget();
        }
        self.quieten().await;
        let mut figures = figures.take();
        figures.times.sort_unstable();
        figures.messages = self.world.messages.get();
        figures.learned_by_others = self.world.learned_on_the_way.get();
        figures
    }

    /// Waits until no datagram is on its way any more: what is left of one trial is no part of the next.
    async fn quieten(&self) {
        let (deadline, mut quiet) = (self.rt.now() + QUIET_WITHIN, 0);
        while quiet < 2 && self.rt.now() < deadline {
            self.rt.sleep(self.plan.delay + Duration::from_millis(1)).await;
            quiet = if self.nodes.iter().all(|node| node.is_idle()) { quiet + 1 } else { 0 };
        }
    }

    /// Waits until all nodes have ended, the runtime being stopped.
    ///
    /// # Errors
    /// The first with which one ended.
    pub async fn end(self) -> io::Result<()> {
        for task in self.tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

impl Figures {
    /// Adds a look-up, which ought to have found `owner`.
    fn add(&mut self, answer: &Answer, owner: Contact, took: Duration) {
        self.lookups += 1;
        self.right += u64::from(answer.owner == Some(owner));
        self.wrong += u64::from(answer.owner.is_some_and(|found| found != owner));
        self.hops += u64::from(answer.hops);
        self.times.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.timeouts += answer.timeouts;
        self.learned_by_askers += answer.learned;
    }

    /// This part of the times is not above it, in microseconds.
    pub fn time(&self, part: f64) -> u64 {
        let place = (self.times.len() as f64 * part) as usize;
        self.times.get(place.min(self.times.len().saturating_sub(1))).copied().unwrap_or(0)
    }
}

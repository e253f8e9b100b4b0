//! A node: a socket, what it knows, and a task that answers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use executor::{Net, UdpSocket};

use super::message::{LONGEST, Lookup, Message};
use super::replies::Replies;
use super::ring::{Contact, Id, Knowledge, Next};
use crate::serve::unless_stopping;

/// How often a question is sent before its node counts as dead: a datagram may be lost.
const TRIES: u32 = 2;
/// Steps after which a look-up is dropped: more than any ring needs.
pub const MOST_HOPS: u32 = 64;

/// Datagrams that a node has in hand at most. Further ones are lost, as they would be on a network.
const IN_HAND: u32 = 256;

/// What all nodes of a process share.
#[derive(Debug)]
pub struct World {
    /// How long a datagram is on its way: loopback is faster than any network.
    pub delay: Duration,
    /// How long to wait for an answer before a node counts as dead.
    pub timeout: Duration,
    /// Datagrams sent.
    pub messages: Cell<u64>,
    /// Times that a node found out that another one is dead, on behalf of somebody else.
    pub learned_on_the_way: Cell<u64>,
}

/// A node.
pub struct Node<R: Net> {
    pub rt: R,
    pub me: Contact,
    pub world: Rc<World>,
    pub knowledge: RefCell<Knowledge>,
    pub replies: Replies,
    /// Those it has found dead.
    pub dead: RefCell<BTreeSet<Id>>,
    /// A dead one is silent. Its socket is there, as that of a machine without power would seem to be.
    pub lives: Cell<bool>,
    in_hand: Cell<u32>,
    socket: Rc<UdpSocket<R::Port>>,
}

impl<R: Net> Node<R> {
    /// A node on this socket.
    pub fn new(rt: &R, me: Contact, socket: UdpSocket<R::Port>, ring: &[Contact], world: &Rc<World>) -> Rc<Node<R>> {
        Rc::new(Node {
            rt: rt.clone(),
            me,
            world: Rc::clone(world),
            knowledge: RefCell::new(Knowledge::settled(me, ring)),
            replies: Replies::default(),
            dead: RefCell::default(),
            lives: Cell::new(true),
            in_hand: Cell::new(0),
            socket: Rc::new(socket),
        })
    }

    /// Receives until the runtime is stopped. Each datagram is a task of its own, after its time on the way.
    pub async fn run(self: Rc<Self>) -> io::Result<()> {
        while let Some((received, buffer)) = unless_stopping(&self.rt, self.socket.read_from(vec![0; LONGEST])).await {
            let (length, from) = received?;
            // What is too long, or no message, is nobody's.
            let Some(bytes) = buffer.get(..length) else { continue };
            let Ok(message) = serde_json::from_slice::<Message>(bytes) else { continue };
            if self.in_hand.get() == IN_HAND {
                continue;
            }
            self.in_hand.set(self.in_hand.get() + 1);
            let node = Rc::clone(&self);
            let handling = async move {
                node.rt.sleep(node.world.delay).await;
                if node.lives.get() {
                    node.handle(message, from).await;
                }
                node.in_hand.set(node.in_hand.get() - 1);
            };
            self.rt.spawn(handling).detach();
        }
        Ok(())
    }

    async fn handle(&self, message: Message, from: SocketAddr) {
        if let Some(token) = message.answers() {
            self.replies.deliver(token, message);
            return;
        }
        match message {
            Message::Step { token, key, avoid } => {
                let avoid = self.dead.borrow().iter().copied().chain(avoid).collect();
                let answer = match self.knowledge.borrow().next(key, &avoid) {
                    Next::Closer(nodes) => Message::Closer { token, nodes },
                    Next::Owner(nodes) => Message::Owner { token, nodes },
                };
                self.send(&answer, from).await;
            }
            Message::Get { token, .. } => self.send(&Message::Have { token }, from).await,
            Message::Forward { token, lookup } => {
                if let Some(token) = token {
                    self.send(&Message::Taken { token }, from).await;
                }
                if lookup.last {
                    let Lookup { token, origin, hops, .. } = lookup;
                    self.send(&Message::Found { token, owner: self.me, hops }, origin).await;
                } else if lookup.hops < MOST_HOPS {
                    let learned = self.pass_on(lookup, token.is_some(), 0).await;
                    self.world.learned_on_the_way.set(self.world.learned_on_the_way.get() + learned);
                }
            }
            _ => {}
        }
    }

    /// Whether it has no datagram in hand.
    pub fn is_idle(&self) -> bool {
        self.in_hand.get() == 0
    }

    /// What it knows itself about where to go.
    pub fn own_next(&self, key: Id) -> Next {
        self.knowledge.borrow().next(key, &self.dead.borrow())
    }

    /// Whether it has found this one dead.
    pub fn is_dead(&self, node: Contact) -> bool {
        self.dead.borrow().contains(&node.id)
    }

    /// Sends a look-up one step further: to the best node that says it has it, or, blindly, to the best but `skipped`.
    /// Returns how many were found dead.
    pub async fn pass_on(&self, lookup: Lookup, is_acknowledged: bool, skipped: usize) -> u64 {
        let mut learned = 0;
        loop {
            let (nodes, last) = match self.own_next(lookup.key) {
                Next::Closer(nodes) => (nodes, false),
                Next::Owner(nodes) => (nodes, true),
            };
            let Some(node) = nodes.get(skipped.min(nodes.len().saturating_sub(1))) else { return learned };
            let lookup = Lookup { hops: lookup.hops + 1, last, ..lookup };
            if !is_acknowledged {
                self.send(&Message::Forward { token: None, lookup }, node.at).await;
                return learned;
            }
            let forward = |token| Message::Forward { token: Some(token), lookup };
            if self.request(*node, forward).await.is_some() {
                return learned;
            }
            learned += 1;
        }
    }

    /// Asks another node, and waits for the answer. If none comes, that node counts as dead from now on.
    pub async fn request(&self, node: Contact, question: impl Fn(u64) -> Message) -> Option<Message> {
        let open = self.replies.ask();
        for _ in 0..TRIES {
            self.send(&question(open.token), node.at).await;
            if let Ok(answer) = self.rt.timeout(self.world.timeout / TRIES, open.answer()).await {
                return Some(answer);
            }
        }
        self.dead.borrow_mut().insert(node.id);
        None
    }

    /// What can't be sent is lost, as on any network.
    async fn send(&self, message: &Message, to: SocketAddr) {
        self.world.messages.set(self.world.messages.get() + 1);
        let bytes = serde_json::to_vec(message).expect("it has no maps");
        let _ = self.socket.send_to(bytes, to).await;
    }
}

//! The asker's part of a look-up.

use executor::Net;

use super::message::{Lookup, Message};
use super::node::{MOST_HOPS, Node};
use super::ring::{Contact, Id, Knowledge, Next, SUCCESSORS, distance};

/// How often a recursive look-up is begun.
const ATTEMPTS: usize = 3;
/// How many times a node's time-out the asker waits for the answer of a recursive look-up: others may have to wait for
/// dead ones on the way.
const PATIENCE: u32 = 4;

/// How many dead nodes a question names: a datagram has no room for all.
const AVOIDED: usize = 32;

/// Who takes the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The asker, one after the other.
    Iterative,
    /// Each node the next, and says that it has taken it on.
    Recursive,
    /// Each node the next, and says nothing.
    Blind,
}

impl Routing {
    /// All of them.
    pub const ALL: [Routing; 3] = [Routing::Iterative, Routing::Recursive, Routing::Blind];

    /// As in the table.
    pub fn name(self) -> &'static str {
        match self {
            Routing::Iterative => "iterative",
            Routing::Recursive => "recursive",
            Routing::Blind => "blind",
        }
    }
}

/// What came of a look-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer {
    pub owner: Option<Contact>,
    /// Steps, the one to the owner included.
    pub hops: u32,
    /// Nodes the asker found dead.
    pub learned: u64,
    /// Times the asker waited for nothing.
    pub timeouts: u64,
}

/// Looks a key up for this node.
pub async fn lookup<R: Net>(node: &Node<R>, key: Id, routing: Routing) -> Answer {
    match routing {
        Routing::Iterative => iterative(node, key).await,
        Routing::Recursive => recursive(node, key, true).await,
        Routing::Blind => recursive(node, key, false).await,
    }
}

/// Looks up anew whom this node has to know: its successors, each as the owner of what comes after the one before, and its
/// fingers beyond them. The dead are found out on the way, and forgotten. In the paper each node does a bit of this every
/// now and then.
pub async fn repair<R: Net>(node: &Node<R>) {
    let me = node.me;
    let mut successors: Vec<Contact> = Vec::new();
    while successors.len() < SUCCESSORS {
        let last = successors.last().map_or(me.id, |last| last.id);
        match iterative(node, last.wrapping_add(1)).await.owner {
            Some(next) if next != me && !successors.contains(&next) => successors.push(next),
            // Once around; or all that it knew are dead.
            _ => break,
        }
    }
    let Some(last) = successors.last() else { return };
    let reach = distance(me.id, last.id);
    let mut fingers = Vec::new();
    for step in (0..Id::BITS).map(|bit| 1 << bit).filter(|step| *step > reach) {
        fingers.extend(iterative(node, me.id.wrapping_add(step)).await.owner);
    }
    node.knowledge.replace(Knowledge::new(me, successors, fingers));
}

/// Asks one node after the other who is nearer. The first step is to look into its own tables.
async fn iterative<R: Net>(node: &Node<R>, key: Id) -> Answer {
    let mut answer = Answer::default();
    let mut next = node.own_next(key);
    while answer.hops < MOST_HOPS {
        match next {
            Next::Closer(nodes) => next = first_step(node, nodes, key, &mut answer).await,
            Next::Owner(nodes) => {
                for contact in nodes {
                    answer.hops += 1;
                    if node.request(contact, |token| Message::Get { token, key }).await.is_some() {
                        answer.owner = Some(contact);
                        break;
                    }
                    (answer.learned, answer.timeouts) = (answer.learned + 1, answer.timeouts + 1);
                }
                break;
            }
        }
    }
    answer
}

/// What the first of these that lives says. If none does, it starts over from its own tables, which are without them.
async fn first_step<R: Net>(node: &Node<R>, nodes: Vec<Contact>, key: Id, answer: &mut Answer) -> Next {
    for contact in nodes {
        if node.is_dead(contact) {
            continue;
        }
        if let Some(next) = step(node, contact, key, answer).await {
            return next;
        }
    }
    // Even if all of them were known to be dead, this is bounded.
    answer.hops += 1;
    node.own_next(key)
}

/// Asks one node. `None`: it is dead.
async fn step<R: Net>(node: &Node<R>, contact: Contact, key: Id, answer: &mut Answer) -> Option<Next> {
    answer.hops += 1;
    // Those nearest before the key and after it matter.
    let mut avoid: Vec<Id> = node.dead.borrow().iter().copied().collect();
    avoid.sort_by_key(|dead| key.wrapping_sub(*dead).min(dead.wrapping_sub(key)));
    avoid.truncate(AVOIDED);
    match node.request(contact, |token| Message::Step { token, key, avoid: avoid.clone() }).await {
        Some(Message::Closer { nodes, .. }) => Some(Next::Closer(nodes)),
        Some(Message::Owner { nodes, .. }) => Some(Next::Owner(nodes)),
        _ => {
            (answer.learned, answer.timeouts) = (answer.learned + 1, answer.timeouts + 1);
            None
        }
    }
}

/// Sends the question off, and waits for the owner to answer.
async fn recursive<R: Net>(node: &Node<R>, key: Id, is_acknowledged: bool) -> Answer {
    let mut answer = Answer::default();
    for attempt in 0..ATTEMPTS {
        let open = node.replies.ask();
        let lookup = Lookup { token: open.token, key, origin: node.me.at, hops: 0, last: false };
        answer.learned += node.pass_on(lookup, is_acknowledged, attempt).await;
        // Blindly, nobody on the way waits for anything.
        let patience = if is_acknowledged { PATIENCE } else { 1 };
        let found = node.rt.timeout(node.world.timeout * patience, open.answer()).await;
        if let Ok(Message::Found { owner, hops, .. }) = found {
            (answer.owner, answer.hops) = (Some(owner), hops);
            return answer;
        }
        answer.timeouts += 1;
    }
    answer
}

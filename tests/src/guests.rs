//! Threads of std's blocking clients, which do their part in each round of a scenario.

use std::sync::mpsc;
use std::thread::JoinHandle;

use demos::mailbox::{Receiver, mailbox};
use fastrand::Rng;

/// Threads that wait for a seed, play a part with it, and say what came of it.
///
/// They live as long as the scenario: a thread takes memory of its own from the allocator, and a new one for each
/// round would blur how much the scenario has.
#[derive(Debug)]
pub(crate) struct Guests<T>(Vec<Guest<T>>);

#[derive(Debug)]
struct Guest<T> {
    seeds: mpsc::Sender<u64>,
    outcomes: Receiver<T>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Guests<T> {
    /// So many threads, each with a part made by `part`.
    pub(crate) fn new<P: FnMut(Rng) -> T + Send + 'static>(count: usize, mut part: impl FnMut() -> P) -> Self {
        let guest = |_| {
            let (seeds, asked) = mpsc::channel();
            let (answer, outcomes) = mailbox(1);
            let mut part = part();
            let play = move || {
                for seed in asked {
                    if answer.post(part(Rng::with_seed(seed))).is_err() {
                        return;
                    }
                }
            };
            Guest { seeds, outcomes, thread: std::thread::spawn(play) }
        };
        Guests((0..count).map(guest).collect())
    }

    /// Has all of them play at the same time, and waits for them.
    ///
    /// # Panics
    /// If one of them does.
    pub(crate) async fn play(&mut self, random: &mut Rng) -> Vec<T> {
        for guest in &self.0 {
            // One that is gone is found out below.
            let _ = guest.seeds.send(random.u64(..));
        }
        let mut all = Vec::with_capacity(self.0.len());
        for place in 0..self.0.len() {
            match self.0[place].outcomes.receive().await {
                Some(outcome) => all.push(outcome),
                None => {
                    let panic = self.0.swap_remove(place).thread.join().expect_err("it ends only by a panic");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        all
    }
}

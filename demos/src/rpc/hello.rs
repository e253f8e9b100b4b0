//! The example: an interface, and the procedures behind it.

use std::cell::Cell;
use std::time::Duration;

use executor::Runtime;
use serde::{Deserialize, Serialize};

use super::interface::interface;

interface! {
    /// Greets people.
    pub trait Hello, client HelloClient, server HelloServer {
        /// Says hello.
        "SayHello" => fn say_hello(name: String) -> String;
        /// Says hello after this many milliseconds, a minute at most.
        "SayHelloLater" => fn say_hello_later(name: String, ms: u64) -> String;
        /// What this server was asked so far.
        "Count" => fn count() -> Counts;
        /// Has a bug.
        "Crash" => fn crash() -> String;
    }
}

/// What became of the calls that greet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that began.
    pub begun: u64,
    /// Those that got to their end. The others were cancelled, or are under way.
    pub done: u64,
    /// Those that were dropped before.
    pub cancelled: u64,
}

/// The procedures.
pub struct Greeter<R> {
    rt: R,
    counts: Cell<Counts>,
}

/// The longest pause before a greeting.
const LONGEST: Duration = Duration::from_secs(60);

impl<R: Runtime> Greeter<R> {
    /// Nobody has been greeted.
    pub fn new(rt: R) -> Self {
        Greeter { rt, counts: Cell::default() }
    }

    fn add(&self, change: impl Fn(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl<R: Runtime> Hello for Greeter<R> {
    async fn say_hello(&self, name: String) -> Result<String, String> {
        if name.is_empty() {
            return Err("who is there?".to_owned());
        }
        self.add(|counts| counts.begun += 1);
        self.add(|counts| counts.done += 1);
        Ok(format!("Hello, {name}!"))
    }

    async fn say_hello_later(&self, name: String, ms: u64) -> Result<String, String> {
        let time = Duration::from_millis(ms);
        if time > LONGEST {
            return Err(format!("give {} ms at most", LONGEST.as_millis()));
        }
        self.add(|counts| counts.begun += 1);
        let greeting = Greeting { greeter: self, is_done: false };
        self.rt.sleep(time).await;
        greeting.done();
        Ok(format!("Hello, {name}, after {ms} ms!"))
    }

    async fn count(&self) -> Result<Counts, String> {
        Ok(self.counts.get())
    }

    async fn crash(&self) -> Result<String, String> {
        panic!("this procedure has a bug, on purpose")
    }
}

/// A greeting under way. A cancelled call is a dropped future, and this is how one can notice.
struct Greeting<'a, R: Runtime> {
    greeter: &'a Greeter<R>,
    is_done: bool,
}

impl<R: Runtime> Greeting<'_, R> {
    fn done(mut self) {
        self.is_done = true;
        self.greeter.add(|counts| counts.done += 1);
    }
}

impl<R: Runtime> Drop for Greeting<'_, R> {
    fn drop(&mut self) {
        if !self.is_done {
            self.greeter.add(|counts| counts.cancelled += 1);
        }
    }
}

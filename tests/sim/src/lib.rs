//! A runtime without a kernel: sockets in memory, a clock that jumps, and weather, all from one seed.
//!
//! It is a fourth engine beside `reactor-level`, `reactor-edge` and `proactor`. A program that is generic over
//! [`Runtime`] runs on it unchanged, and meets in a second what it would meet in years: every kind of short
//! transfer, early wake and late cancel that the other three have, at the worst moments. An hour of timeouts
//! takes no time, and a run that fails can be run again, exactly as it was.
//!
//! ```
//! use sim::{Builder, Listener, Reader, Runtime, Weather, Writer};
//!
//! sim::for_each_seed(100, |seed| {
//!     let sim = Builder::new(seed).weather(Weather::stormy()).build();
//!     sim.block_on(async {
//!         let mut listener = sim.listen("10.0.0.1:80".parse().unwrap(), &Default::default()).unwrap();
//!         let client = sim.spawn({
//!             let sim = sim.clone();
//!             async move {
//!                 let mut stream = sim.connect("10.0.0.1:80".parse().unwrap()).await.unwrap();
//!                 stream.write_all("hello").await.0.unwrap();
//!             }
//!         });
//!         let mut stream = listener.accept().await.unwrap();
//!         let (result, greeting) = stream.read_exact(vec![0; 5]).await;
//!         result.unwrap();
//!         assert_eq!(greeting, b"hello");
//!         client.await.unwrap();
//!     });
//!     sim.finish();
//! });
//! ```
//!
//! If a seed fails, [`for_each_seed`] prints the command that replays it, and the world its last steps.
//!
//! # What is the same, what is not
//!
//! Tasks, timers, the queue and TCP's upper half are the executor's own. Below them is a world: a
//! clock, an agenda of what will happen, ordered by time and then by chance, and sockets, which are pairs of byte
//! queues. A turn of the loop moves the clock on to the next thing that happens, at once. What is left out: other
//! threads (they would bring their own order of things: what a program does on others is not replayed), files
//! (a [`File`] is a real one), and the kernel itself. Nothing here can find a mistake in how a driver uses its kernel.
//!
//! # The same seed, the same run
//!
//! All chance comes from the seed, and no wall clock, address or hash map has a say. [`Sim::trace`] is a hash over
//! all that happened; the same program with the same seed has the same one, in each process and on each machine.
//! So a program must take its own chance from the seed, too, and its time from the runtime.
//!
//! # Reading order
//!
//! `weather.rs` (what may happen), `world.rs` (time and the agenda), `pipe.rs` and `socket.rs` (what there is),
//! `connections.rs` and `transfers.rs` (what happens to it), `net.rs` (futures over that), `seeds.rs`; then `script/`, which holds one runtime against another.

#![forbid(unsafe_code)]

mod connections;
mod driver;
mod files;
mod net;
mod pipe;
mod probe;
pub mod script;
mod seeds;
mod socket;
mod trace;
mod transfers;
mod weather;
mod world;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use executor::{Config, Executor};

use crate::world::World;

pub use crate::driver::SimDriver;
pub use crate::files::File;
pub use crate::net::{Chunk, ListenSocket, ReadHalf, StreamSocket, TcpListener, TcpStream, WriteHalf};
pub use crate::probe::Probe;
pub use crate::script::Script;
pub use crate::seeds::{for_each_seed, run_seed, seed_to_replay};
pub use crate::weather::Weather;
pub use executor::{
    BufResult, Elapsed, IoBuf, IoBufMut, JoinError, JoinHandle, JoinSet, ListenOptions, Listener, Reader, Runtime,
    Sleep, Stats, Stream, Writer, yield_now,
};

/// The runtime. What [`Builder::build`] returns is its owner, and dropping that ends it; clones are handles,
/// which keep nothing alive. Most of its methods are those of [`Executor`].
#[derive(Clone)]
pub struct Sim {
    executor: Executor<SimDriver>,
    pub(crate) world: Rc<World>,
}

impl Sim {
    /// A runtime in [calm](Weather::calm) weather.
    #[must_use]
    pub fn calm(seed: u64) -> Sim {
        Builder::new(seed).build()
    }

    /// A runtime in [stormy](Weather::stormy) weather.
    #[must_use]
    pub fn stormy(seed: u64) -> Sim {
        Builder::new(seed).weather(Weather::stormy()).build()
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// How much simulated time has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.world.state.borrow().now
    }

    /// A hash over everything that happened so far: what, when, to which socket, with how many bytes.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.world.state.borrow().trace.hash()
    }

    /// How many steps that were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.state.borrow().trace.steps()
    }

    /// Changes the weather. What is on its way arrives as it was going to; connections keep their buffers.
    pub fn set_weather(&self, weather: Weather) {
        self.world.state.borrow_mut().weather = weather;
    }

    /// The two ends of a new connection: the connected and the accepted.
    ///
    /// # Errors
    /// EMFILE if the program holds as many sockets as it may; [`closed`](executor::closed).
    pub async fn pair(&self) -> io::Result<(TcpStream, TcpStream)> {
        let mut listener =
            self.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), &ListenOptions::default())?;
        let connected = self.connect(listener.local_addr()?).await?;
        Ok((connected, listener.accept().await?))
    }

    /// Ends the runtime, and checks that nothing of it is left.
    ///
    /// # Panics
    /// If a stream, a listener or a chunk outlives the runtime; if this is not the owner; with the panic of a task
    /// that nobody awaited.
    pub fn finish(self) {
        let Sim { executor, world } = self;
        drop(executor);
        assert!(world.is_closed.get(), "finish is for the owner of a runtime: this is a handle");
        if let Some(panic) = world.panic.take() {
            std::panic::resume_unwind(panic);
        }
        let state = world.state.borrow();
        let left = [
            ("streams", state.sockets.len() as u64),
            ("listeners", state.listeners.len() as u64),
            ("chunks", world.chunks_lent.get()),
        ];
        let left: Vec<_> = left.into_iter().filter(|(_, count)| *count > 0).collect();
        assert!(left.is_empty(), "left over at the end: {left:?}. Drop them, or the tasks that hold them, before");
    }
}

impl Deref for Sim {
    type Target = Executor<SimDriver>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.seed()).field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

/// Sets a runtime up.
#[derive(Clone, Debug)]
pub struct Builder {
    seed: u64,
    weather: Weather,
    config: Config,
    max_steps: u64,
}

/// Steps of a run unless it is told otherwise: a second or so, and a thousand times what most tests take.
const MAX_STEPS: u64 = 1_000_000;

impl Builder {
    /// Calm weather, and the defaults of [`Config`].
    #[must_use]
    pub fn new(seed: u64) -> Builder {
        Builder { seed, weather: Weather::calm(), config: Config::default(), max_steps: MAX_STEPS }
    }

    /// Chooses the weather.
    #[must_use]
    pub fn weather(mut self, weather: Weather) -> Builder {
        self.weather = weather;
        self
    }

    /// Sets how many steps the world may take before the program is taken to go on for ever: see
    /// [`Sim::steps`]. A million if never called.
    #[must_use]
    pub fn max_steps(mut self, steps: u64) -> Builder {
        self.max_steps = steps;
        self
    }

    /// Limits that every runtime has. Two of its fields are not used: there is no time to spin in, and a panic
    /// of a task that nobody awaits ends the run, because it would pass for success else.
    #[must_use]
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Makes the runtime, on the thread that will run it.
    #[must_use]
    pub fn build(self) -> Sim {
        let world = Rc::new(World::new(self.seed, self.weather, self.max_steps));
        let hook = Rc::downgrade(&world);
        let config = Config {
            spin: Duration::ZERO,
            on_task_panic: Rc::new(move |panic| {
                if let Some(world) = hook.upgrade() {
                    let first = world.panic.take().or(Some(panic));
                    world.panic.set(first);
                }
            }),
            ..self.config
        };
        Sim { executor: Executor::new(SimDriver { world: Rc::clone(&world) }, config), world }
    }
}

//! The runtimes, as the benchmarks see them. Each is in the fastest form of those its documentation
//! describes for one thread.

use std::future::Future;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::benchmark::{self, Benchmark, Effort};
use super::figure::Figure;
use super::threads;

/// A runtime to be measured: what the benchmarks need of it, and nothing else.
pub trait Subject: Clone + 'static {
    /// Makes a runtime and runs `body` on it.
    ///
    /// # Errors
    /// Those of making it.
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T>;

    /// Starts a task. The future completes when the task has.
    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static;

    /// Starts a task that nobody awaits.
    fn detach(&self, future: impl Future<Output = ()> + 'static);

    /// Completes after this time.
    fn sleep(&self, duration: Duration) -> impl Future + 'static;
}

/// A runtime's name, and how to measure it.
pub struct Runtime {
    pub name: &'static str,
    pub measure: fn(Benchmark, Effort) -> anyhow::Result<Vec<Figure>>,
    can: fn(Benchmark) -> bool,
}

impl Runtime {
    /// Whether it has this benchmark.
    pub fn can(&self, benchmark: Benchmark) -> bool {
        (self.can)(benchmark)
    }
}

fn everything(_: Benchmark) -> bool {
    true
}

/// monoio has wakes from other threads only with its feature `sync`, which is off by default.
fn nothing_foreign(benchmark: Benchmark) -> bool {
    !benchmark.is_foreign()
}

/// Every runtime, in the order of the report.
pub const ALL: &[Runtime] = &[
    Runtime { name: "reactor", measure: benchmark::measure::<reactor::Reactor>, can: everything },
    Runtime { name: "proactor", measure: benchmark::measure::<proactor::Proactor>, can: everything },
    Runtime { name: "tokio", measure: benchmark::measure::<Tokio>, can: everything },
    Runtime { name: "smol", measure: benchmark::measure::<Smol>, can: everything },
    Runtime { name: "monoio", measure: benchmark::measure::<Monoio>, can: nothing_foreign },
    Runtime { name: "compio", measure: benchmark::measure::<Compio>, can: everything },
    Runtime { name: "glommio", measure: benchmark::measure::<Glommio>, can: everything },
    Runtime { name: "threads", measure: threads::measure, can: threads::can },
];

/// The runtime of this name.
///
/// # Errors
/// There is none; the text lists those that there are.
pub fn find(name: &str) -> anyhow::Result<&'static Runtime> {
    ALL.iter().find(|runtime| runtime.name == name).with_context(|| {
        let names: Vec<_> = ALL.iter().map(|runtime| runtime.name).collect();
        format!("there is no runtime {name:?} here; there are {}", names.join(", "))
    })
}

/// The project's own.
trait Own: Clone + Deref<Target = executor::Executor<Self::Driver>> + 'static {
    type Driver: executor::Driver;

    fn make() -> anyhow::Result<Self>;
}

impl Own for reactor::Reactor {
    type Driver = reactor::EpollDriver;

    fn make() -> anyhow::Result<Self> {
        Ok(reactor::Reactor::new()?)
    }
}

impl Own for proactor::Proactor {
    type Driver = proactor::UringDriver;

    fn make() -> anyhow::Result<Self> {
        Ok(proactor::Proactor::new()?)
    }
}

impl<R: Own> Subject for R {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        let owner = R::make()?;
        Ok(owner.block_on(body(owner.clone())))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        (**self).spawn(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        (**self).spawn(future).detach();
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        (**self).sleep(duration)
    }
}

#[derive(Clone)]
struct Tokio;

impl Subject for Tokio {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        let options = tokio::runtime::LocalOptions::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build_local(options)?;
        Ok(runtime.block_on(body(Tokio)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        tokio::task::spawn_local(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        drop(tokio::task::spawn_local(future));
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        tokio::time::sleep(duration)
    }
}

#[derive(Clone)]
struct Smol(Rc<smol::LocalExecutor<'static>>);

impl Subject for Smol {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        let executor = Rc::new(smol::LocalExecutor::new());
        Ok(smol::block_on(executor.run(body(Smol(Rc::clone(&executor))))))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        self.0.spawn(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        self.0.spawn(future).detach();
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        smol::Timer::after(duration)
    }
}

#[derive(Clone)]
struct Monoio;

impl Subject for Monoio {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
        Ok(builder.enable_timer().build()?.block_on(body(Monoio)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        monoio::spawn(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(future));
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        monoio::time::sleep(duration)
    }
}

#[derive(Clone)]
struct Compio;

impl Subject for Compio {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        Ok(compio::runtime::Runtime::new()?.block_on(body(Compio)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        compio::runtime::spawn(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        compio::runtime::spawn(future).detach();
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        compio::runtime::time::sleep(duration)
    }
}

#[derive(Clone)]
struct Glommio;

impl Subject for Glommio {
    fn run<T: 'static>(body: impl AsyncFnOnce(Self) -> T + 'static) -> anyhow::Result<T> {
        let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
        let executor = builder.make().map_err(|error| anyhow!("{error}"))?;
        Ok(executor.run(body(Glommio)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> impl Future + 'static {
        glommio::spawn_local(future)
    }

    fn detach(&self, future: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(future).detach();
    }

    fn sleep(&self, duration: Duration) -> impl Future + 'static {
        glommio::timer::Timer::new(duration)
    }
}

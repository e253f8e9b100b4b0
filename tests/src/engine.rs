//! The engines, as types a test body is generic over.

use std::io;

use executor::{Config, Driver, Judge, Reader, Runtime};
use reactor::{Reactor, Trigger};

/// One of the runtimes, or a variant of one with a fallback forced.
pub trait Engine: 'static {
    /// As it is printed in the names of the tests.
    const NAME: &'static str;
    /// The executor's driver under it.
    type Driver: Driver;
    /// The runtime's type: both owner and handle.
    type Rt: Runtime<Driver = Self::Driver>;

    /// A runtime; this is its owner.
    ///
    /// # Errors
    /// Those of setting it up.
    fn build(config: Config) -> io::Result<Self::Rt>;

    /// Puts a judge between the driver and the kernel.
    fn set_judge(rt: &Self::Rt, judge: Option<Judge>);
}

/// The engine's TCP connection.
pub type Stream<E> = <<E as Engine>::Rt as Runtime>::Stream;
/// What the engine's `recv` lends.
pub type Chunk<E> = <Stream<E> as Reader>::Chunk;

/// epoll, level-triggered.
#[derive(Debug)]
pub struct ReactorLevel;
/// epoll, edge-triggered.
#[derive(Debug)]
pub struct ReactorEdge;
/// epoll, edge-triggered, as on a kernel without `epoll_pwait2`: sleeps in whole milliseconds.
#[derive(Debug)]
pub struct ReactorMillis;

impl Engine for ReactorLevel {
    const NAME: &'static str = "reactor-level";
    type Driver = reactor::EpollDriver;
    type Rt = Reactor;

    fn build(config: Config) -> io::Result<Reactor> {
        reactor::Builder::new().trigger(Trigger::Level).config(config).build()
    }

    fn set_judge(rt: &Reactor, judge: Option<Judge>) {
        rt.set_judge(judge);
    }
}

impl Engine for ReactorEdge {
    const NAME: &'static str = "reactor-edge";
    type Driver = reactor::EpollDriver;
    type Rt = Reactor;

    fn build(config: Config) -> io::Result<Reactor> {
        reactor::Builder::new().trigger(Trigger::Edge).config(config).build()
    }

    fn set_judge(rt: &Reactor, judge: Option<Judge>) {
        rt.set_judge(judge);
    }
}

impl Engine for ReactorMillis {
    const NAME: &'static str = "reactor-millis";
    type Driver = reactor::EpollDriver;
    type Rt = Reactor;

    fn build(config: Config) -> io::Result<Reactor> {
        reactor::Builder::new().without_pwait2().config(config).build()
    }

    fn set_judge(rt: &Reactor, judge: Option<Judge>) {
        rt.set_judge(judge);
    }
}

/// Adds each body once for every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $crate::on_reactors!($suite, $($body),+);
    };
}

/// Adds each body once for each trigger mode of the reactor.
#[macro_export]
macro_rules! on_reactors {
    ($suite:ident, $($body:ident),+ $(,)?) => {$(
        $suite.add::<$crate::ReactorLevel>(stringify!($body), $body::<$crate::ReactorLevel>);
        $suite.add::<$crate::ReactorEdge>(stringify!($body), $body::<$crate::ReactorEdge>);
    )+};
}

/// Adds each body once for every engine, and once for every forced fallback.
#[macro_export]
macro_rules! on_every_variant {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $crate::on_every_engine!($suite, $($body),+);
        $($suite.add::<$crate::ReactorMillis>(stringify!($body), $body::<$crate::ReactorMillis>);)+
    };
}

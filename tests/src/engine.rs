//! The engines, as types a test body is generic over.

use std::io;
use std::os::fd::AsFd;

use executor::{Config, Driver, Editor, Files, Judge, Net, Reader, Runtime};
use proactor::{Feature, Proactor};
use reactor::{Reactor, Trigger};

/// One of the runtimes, or a variant of one with a fallback forced.
pub trait Engine: 'static {
    /// As it is printed in the names of the tests.
    const NAME: &'static str;
    /// The executor's driver under it.
    type Driver: Driver;
    /// The runtime's type: both owner and handle.
    type Rt: Runtime<Driver = Self::Driver, Stream: AsFd> + Files + Subject;

    /// A runtime; this is its owner.
    ///
    /// # Errors
    /// Those of setting it up.
    fn build(config: Config) -> io::Result<Self::Rt>;

    /// Puts a judge between the driver and the kernel.
    fn set_judge(rt: &Self::Rt, judge: Option<Judge>) {
        rt.set_judge(judge);
    }

    /// Puts an editor between what the kernel reports and the driver.
    fn set_editor(rt: &Self::Rt, editor: Option<Editor>) {
        rt.set_editor(editor);
    }
}

/// What the tests do with a runtime beyond what is in [`Runtime`].
pub trait Subject: Net {
    /// See [`Engine::set_judge`].
    fn set_judge(&self, judge: Option<Judge>);
    /// See [`Engine::set_editor`].
    fn set_editor(&self, editor: Option<Editor>);
    /// What there is and what it waits for, one a line.
    fn dump(&self) -> String;
    /// A connection made elsewhere, as the runtime's.
    ///
    /// # Errors
    /// The runtime's.
    fn stream_of(&self, stream: std::net::TcpStream) -> io::Result<Self::Stream>;
    /// A listener made elsewhere, as the runtime's.
    ///
    /// # Errors
    /// The runtime's.
    fn listener_of(&self, listener: std::net::TcpListener) -> io::Result<Self::Listener>;
}

impl Subject for Reactor {
    fn set_judge(&self, judge: Option<Judge>) {
        Reactor::set_judge(self, judge);
    }

    fn set_editor(&self, editor: Option<Editor>) {
        Reactor::set_editor(self, editor);
    }

    fn dump(&self) -> String {
        Reactor::dump(self)
    }

    fn stream_of(&self, stream: std::net::TcpStream) -> io::Result<Self::Stream> {
        reactor::TcpStream::from_std(self, stream)
    }

    fn listener_of(&self, listener: std::net::TcpListener) -> io::Result<Self::Listener> {
        reactor::TcpListener::from_std(self, listener)
    }
}

impl Subject for Proactor {
    fn set_judge(&self, judge: Option<Judge>) {
        Proactor::set_judge(self, judge);
    }

    fn set_editor(&self, editor: Option<Editor>) {
        Proactor::set_editor(self, editor);
    }

    fn dump(&self) -> String {
        Proactor::dump(self)
    }

    fn stream_of(&self, stream: std::net::TcpStream) -> io::Result<Self::Stream> {
        proactor::TcpStream::from_std(self, stream)
    }

    fn listener_of(&self, listener: std::net::TcpListener) -> io::Result<Self::Listener> {
        proactor::TcpListener::from_std(self, listener)
    }
}

/// Why the engine can't be set up on this machine, if it can't.
#[must_use]
pub fn unavailable<E: Engine>() -> Option<String> {
    E::build(Config::default()).err().map(|error| error.to_string())
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
}

impl Engine for ReactorEdge {
    const NAME: &'static str = "reactor-edge";
    type Driver = reactor::EpollDriver;
    type Rt = Reactor;

    fn build(config: Config) -> io::Result<Reactor> {
        reactor::Builder::new().trigger(Trigger::Edge).config(config).build()
    }
}

impl Engine for ReactorMillis {
    const NAME: &'static str = "reactor-millis";
    type Driver = reactor::EpollDriver;
    type Rt = Reactor;

    fn build(config: Config) -> io::Result<Reactor> {
        reactor::Builder::new().without_pwait2().config(config).build()
    }
}

/// io_uring, with all the kernel offers.
#[derive(Debug)]
pub struct ProactorFull;
/// io_uring with every fallback forced, as on the oldest kernel it runs on.
#[derive(Debug)]
pub struct ProactorBare;
/// io_uring without requests that complete more than once: each is made anew.
#[derive(Debug)]
pub struct ProactorOneshot;
/// io_uring where each receive takes a whole buffer, as before Linux 6.12. So a program that keeps many chunks uses up the
/// pool.
#[derive(Debug)]
pub struct ProactorWhole;
/// io_uring with queues so small that they are always full. A receive holds its place until something
/// arrives, so this is for bodies with few connections.
#[derive(Debug)]
pub struct ProactorTiny;

const MULTISHOT: [Feature; 3] = [Feature::MultishotRecv, Feature::MultishotAccept, Feature::MultishotPoll];

fn without(features: &[Feature]) -> proactor::Builder {
    features.iter().fold(proactor::Builder::new(), |builder, feature| builder.without(*feature))
}

impl Engine for ProactorFull {
    const NAME: &'static str = "proactor";
    type Driver = proactor::UringDriver;
    type Rt = Proactor;

    fn build(config: Config) -> io::Result<Proactor> {
        Ok(without(&[]).config(config).build()?)
    }
}

impl Engine for ProactorBare {
    const NAME: &'static str = "proactor-bare";
    type Driver = proactor::UringDriver;
    type Rt = Proactor;

    fn build(config: Config) -> io::Result<Proactor> {
        Ok(without(&Feature::all().collect::<Vec<_>>()).config(config).build()?)
    }
}

impl Engine for ProactorOneshot {
    const NAME: &'static str = "proactor-oneshot";
    type Driver = proactor::UringDriver;
    type Rt = Proactor;

    fn build(config: Config) -> io::Result<Proactor> {
        Ok(without(&MULTISHOT).config(config).build()?)
    }
}

impl Engine for ProactorWhole {
    const NAME: &'static str = "proactor-whole";
    type Driver = proactor::UringDriver;
    type Rt = Proactor;

    fn build(config: Config) -> io::Result<Proactor> {
        Ok(without(&[Feature::IncrementalBuffers]).config(config).build()?)
    }
}

impl Engine for ProactorTiny {
    const NAME: &'static str = "proactor-tiny";
    type Driver = proactor::UringDriver;
    type Rt = Proactor;

    fn build(config: Config) -> io::Result<Proactor> {
        Ok(without(&[]).operations(8).config(config).build()?)
    }
}

/// Adds each body once for every engine named.
#[macro_export]
macro_rules! on_engines {
    ($suite:ident, [$($engine:ident),+], $body:ident) => {
        $($suite.add::<$crate::$engine>(stringify!($body), $body::<$crate::$engine>);)+
    };
}

/// Adds each body once for each trigger mode of the reactor.
#[macro_export]
macro_rules! on_reactors {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $($crate::on_engines!($suite, [ReactorLevel, ReactorEdge], $body);)+
    };
}

/// Adds each body once for the proactor, with all that the kernel can do, without, and with tiny queues.
#[macro_export]
macro_rules! on_proactors {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $($crate::on_engines!($suite, [ProactorFull, ProactorBare, ProactorTiny], $body);)+
    };
}

/// Adds each body once for every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $($crate::on_engines!($suite, [ReactorLevel, ReactorEdge, ProactorFull], $body);)+
    };
}

/// Adds each body once for every engine, and once for every set of forced fallbacks.
#[macro_export]
macro_rules! on_every_fallback {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $crate::on_every_engine!($suite, $($body),+);
        $($crate::on_engines!($suite, [ReactorMillis, ProactorBare, ProactorOneshot, ProactorWhole], $body);)+
    };
}

/// Adds each body once for every engine, for every set of forced fallbacks, and for tiny queues.
#[macro_export]
macro_rules! on_every_variant {
    ($suite:ident, $($body:ident),+ $(,)?) => {
        $crate::on_every_fallback!($suite, $($body),+);
        $($crate::on_engines!($suite, [ProactorTiny], $body);)+
    };
}

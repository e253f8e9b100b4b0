//! What a server command says about itself: what it does with a connection, and what its connections share.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use executor::{Files, Net, Runtime};

/// What a server does with its connections.
pub trait Service: 'static {
    /// Serves one connection to its end.
    fn connection<R: Net + Files>(service: Rc<Self>, rt: R, stream: R::Stream) -> impl Future<Output = ()>;
}

/// A server whose connections share what belongs to its runtime, such as connections of its own. A [`Service`] is one
/// that shares itself.
pub trait Host: Sized + 'static {
    /// What its connections share.
    type Shared<R: Runtime>: 'static;
    /// How many descriptors each connection takes.
    const DESCRIPTORS: usize;

    /// Why it must not serve at this address, which it listens on, and what to do about it.
    fn objection(&self, listening: SocketAddr) -> Option<String> {
        let _ = listening;
        None
    }
    /// Called once, on the runtime, before the first connection.
    fn share<R: Net>(self, rt: &R) -> Rc<Self::Shared<R>>;
    /// Serves one connection to its end.
    fn connection<R: Net + Files>(shared: Rc<Self::Shared<R>>, rt: R, stream: R::Stream) -> impl Future<Output = ()>;
    /// What else there is to say at the end, in lines of its own.
    fn summary<R: Runtime>(shared: &Self::Shared<R>) -> Option<String>;
}

impl<S: Service> Host for S {
    type Shared<R: Runtime> = S;
    const DESCRIPTORS: usize = 1;

    fn share<R: Runtime>(self, _: &R) -> Rc<S> {
        Rc::new(self)
    }

    fn connection<R: Net + Files>(service: Rc<S>, rt: R, stream: R::Stream) -> impl Future<Output = ()> {
        <S as Service>::connection(service, rt, stream)
    }

    fn summary<R: Runtime>(_: &S) -> Option<String> {
        None
    }
}

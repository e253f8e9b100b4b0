//! All addresses of a name, listened on as one. `localhost` is often two, ::1 and 127.0.0.1, and a client may try only one.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use executor::Listener;

/// The addresses to listen on: one at least. All have the same port.
#[derive(Clone, Debug)]
pub struct Addresses(Vec<SocketAddr>);

/// Where it is impossible to listen, and why.
#[derive(Debug)]
pub struct Refused {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl Addresses {
    /// `None` if there are none.
    pub fn new(addresses: Vec<SocketAddr>) -> Option<Addresses> {
        (!addresses.is_empty()).then_some(Addresses(addresses))
    }

    /// The one to take where only one will do.
    pub fn first(&self) -> SocketAddr {
        self.0[0]
    }

    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }

    /// Opens each address. Those that this machine does not have are left out, unless that leaves none. If the port is 0,
    /// the kernel chooses one for the first address, and the others get the same.
    pub fn open<T>(&self, mut open: impl FnMut(SocketAddr) -> io::Result<(SocketAddr, T)>) -> Result<Vec<T>, Refused> {
        let (mut opened, mut absent, mut chosen) = (Vec::new(), None, None);
        for mut address in self.iter() {
            address.set_port(chosen.unwrap_or(address.port()));
            match open(address) {
                Ok((address, one)) => {
                    chosen = Some(address.port());
                    opened.push(one);
                }
                Err(error) if is_absent(&error) => absent = Some(Refused { address, error }),
                Err(error) => return Err(Refused { address, error }),
            }
        }
        match absent {
            Some(refused) if opened.is_empty() => Err(refused),
            _ => Ok(opened),
        }
    }
}

/// Whether an error says that this machine does not have the address: no interface has it, or IPv6 is switched off.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Listeners as one: what comes to any of them is accepted.
pub struct Listeners<L>(Vec<L>);

impl<L: Listener> Listeners<L> {
    /// Needs one at least.
    pub fn new(listeners: Vec<L>) -> Listeners<L> {
        assert!(!listeners.is_empty(), "a server listens somewhere");
        Listeners(listeners)
    }

    pub fn iter(&self) -> impl Iterator<Item = &L> {
        self.0.iter()
    }

    /// Where all of them listen, as words.
    pub fn places(&self) -> io::Result<String> {
        let places: io::Result<Vec<_>> = self.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
        Ok(places?.join(", "))
    }
}

impl<L: Listener> Listener for Listeners<L> {
    type Stream = L::Stream;

    /// The one that has just brought a connection is asked last: a flood at one address does not stop the others.
    async fn accept(&mut self) -> io::Result<L::Stream> {
        if let [only] = &mut self.0[..] {
            return only.accept().await;
        }
        let mut accepts: Vec<_> = self.0.iter_mut().map(|listener| Box::pin(listener.accept())).collect();
        let (place, accepted) = poll_fn(|cx| {
            let ready = accepts.iter_mut().enumerate().find_map(|(place, accept)| match Pin::new(accept).poll(cx) {
                Poll::Ready(accepted) => Some((place, accepted)),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        // Dropping the other futures loses no connection.
        drop(accepts);
        self.0.rotate_left(place + 1);
        accepted
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0[0].local_addr()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use executor::{Files, ListenOptions, Net, Stream};

    use super::*;
    use crate::engine::{self, Engine, Program};

    const ONE: &str = "[::1]:0";
    const OTHER: &str = "127.0.0.1:0";

    fn addresses() -> Addresses {
        Addresses::new(vec![ONE.parse().unwrap(), OTHER.parse().unwrap()]).unwrap()
    }

    #[test]
    fn all_get_the_port_of_the_first() {
        let opened = addresses().open(|mut address| {
            address.set_port(if address.port() == 0 { 7 } else { address.port() });
            Ok((address, address.to_string()))
        });
        assert_eq!(opened.unwrap(), ["[::1]:7", "127.0.0.1:7"]);
    }

    #[test]
    fn an_address_that_is_not_here_is_left_out_and_one_in_use_is_not() {
        let open = |missing: &'static [i32]| {
            let mut errors = missing.iter();
            addresses().open(move |address| match errors.next() {
                Some(0) | None => Ok((address, address.to_string())),
                Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
            })
        };
        assert_eq!(open(&[libc::EADDRNOTAVAIL]).unwrap(), [OTHER]);
        assert_eq!(open(&[0, libc::EAFNOSUPPORT]).unwrap(), [ONE]);
        let both = open(&[libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL]).unwrap_err();
        assert_eq!((both.address.to_string().as_str(), both.error.kind()), (OTHER, ErrorKind::AddrNotAvailable));
        let used = open(&[0, libc::EADDRINUSE]).unwrap_err();
        assert_eq!((used.address.to_string().as_str(), used.error.kind()), (OTHER, ErrorKind::AddrInUse));
    }

    /// Listens at two addresses of IPv4, which any machine has, and accepts.
    struct Crowd;

    impl Program for Crowd {
        type Output = ();

        async fn main<R: Net + Files>(self, rt: R) {
            let listener = || rt.listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
            let mut listeners = Listeners::new(vec![listener(), listener()]);
            let [crowded, quiet] = [0, 1].map(|place| listeners.0[place].local_addr().unwrap());
            let mut clients: Vec<_> = (0..4).map(|_| TcpStream::connect(crowded).unwrap()).collect();
            clients.push(TcpStream::connect(quiet).unwrap());
            let mut accepted = Vec::new();
            for _ in 0..clients.len() {
                accepted.push(listeners.accept().await.unwrap());
                // By now the kernel has what came to both.
                rt.sleep(std::time::Duration::from_millis(1)).await;
            }
            let place = accepted.iter().position(|stream| stream.local_addr().unwrap() == quiet);
            assert!(place.is_some_and(|place| place < 2), "the quiet address comes after at most one: {place:?}");
        }
    }

    #[test]
    fn a_crowd_at_one_address_does_not_keep_the_others_waiting() {
        for engine in Engine::ALL.into_iter().filter(|engine| engine.check().is_ok()) {
            engine::run(Some(engine), Crowd).unwrap();
        }
    }
}

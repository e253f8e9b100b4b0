//! Goal: a link that loses packets and has little bandwidth changes no byte, and makes no timeout fire early.
//!
//! Method: a network with nothing in it but a TUN device, whose cable ends in a thread of the test. That sends each
//! packet back with its two addresses exchanged, so that both ends of a connection are here; loses one of fifty;
//! and takes as long over each as ten megabits per second do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use executor::{IoBuf, Listener, Reader, Runtime, Stream, Writer};
use fastrand::Rng;
use rustix::thread::UnshareFlags;
use socket2::{Domain, Socket, Type};
use tests::net::{Pattern, listen_at};
use tests::{Engine, Suite, both, ms, on_every_engine, run};

/// This end of the link, and the one that there is not: what is sent to it comes back as if from it.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const BITS_PER_SECOND: f64 = 10e6;
/// One of so many packets is lost.
const LOST_OF: u64 = 50;
const BYTES: usize = 256 << 10;

/// One setting of the device.
fn set(fd: impl AsFd, request: libc::Ioctl, setting: libc::__c_anonymous_ifr_ifru) -> io::Result<()> {
    let mut ifreq = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: setting };
    ifreq.ifr_name[..4].copy_from_slice(&b"lost".map(|letter| letter as libc::c_char));
    // SAFETY: each of the requests below is given an `ifreq`, to read and some to write, only until the call is over.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &raw mut ifreq) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn ipv4(addr: Ipv4Addr) -> libc::__c_anonymous_ifr_ifru {
    // As a sockaddr_in: port, address, padding.
    let mut sa_data = [0; 14];
    sa_data[2..6].copy_from_slice(&addr.octets().map(|octet| octet as libc::c_char));
    let sa_family = libc::AF_INET as libc::sa_family_t;
    libc::__c_anonymous_ifr_ifru { ifru_addr: libc::sockaddr { sa_family, sa_data } }
}

fn flags(flags: libc::c_int) -> libc::__c_anonymous_ifr_ifru {
    libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short }
}

/// Makes a network of its own for this thread, with the device in it, and returns the device's cable.
fn move_to_a_lossy_network() -> io::Result<File> {
    // SAFETY: unsafe for the flag that gives a thread descriptors of its own, which this is not.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    let cable = File::options().read(true).write(true).open("/dev/net/tun")?;
    set(&cable, libc::TUNSETIFF, flags(libc::IFF_TUN | libc::IFF_NO_PI))?;
    let any = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    set(&any, libc::SIOCSIFADDR, ipv4(HERE))?;
    set(&any, libc::SIOCSIFNETMASK, ipv4(Ipv4Addr::new(255, 255, 255, 0)))?;
    set(&any, libc::SIOCSIFFLAGS, flags(libc::IFF_UP | libc::IFF_RUNNING))?;
    Ok(cable)
}

/// The other end of the cable. Ends with the process.
fn reflect(mut cable: File, lost: &AtomicU64) -> io::Result<()> {
    let mut random = Rng::with_seed(1);
    let (mut packets, mut unlucky, mut free) = (0, 0, Instant::now());
    let mut packet = [0; 2048];
    loop {
        let len = cable.read(&mut packet)?;
        let is_ipv4 = len >= 20 && packet[0] >> 4 == 4;
        if !is_ipv4 {
            continue;
        }
        free = free.max(Instant::now()) + Duration::from_secs_f64(len as f64 * 8.0 / BITS_PER_SECOND);
        thread::sleep(free.saturating_duration_since(Instant::now()));
        if packets % LOST_OF == 0 {
            unlucky = packets + random.u64(..LOST_OF);
        }
        packets += 1;
        if packets - 1 == unlucky {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // The checksums are sums, and do not mind the order.
        let (source, destination) = packet[12..20].split_at_mut(4);
        source.swap_with_slice(destination);
        cable.write_all(&packet[..len])?;
    }
}

/// Why there can't be such a network here, if there can't. Tried on a thread, because it can't be left again.
fn no_lossy_network() -> Option<String> {
    let tried = thread::spawn(move_to_a_lossy_network).join().expect("no panic");
    tried.err().map(|error| error.to_string())
}

/// Sends a pattern and receives another, with a timeout that is over again and again; returns how often it was.
async fn converse<S: Stream>(rt: &impl Runtime, stream: S, says: &Pattern, hears: &Pattern) -> u32 {
    const LIMIT: Duration = ms(3);
    let (mut reader, mut writer) = stream.split();
    let speak = async {
        writer.write_all(says.bytes(0, BYTES)).await.0.expect("write_all");
        writer.shutdown().await.expect("shutdown");
    };
    let listen = async {
        let (mut heard, mut timeouts) = (0, 0);
        loop {
            let begun = rt.now();
            let Ok(chunk) = rt.timeout(LIMIT, reader.recv()).await else {
                assert!(rt.now() - begun >= LIMIT, "early");
                timeouts += 1;
                continue;
            };
            let chunk = chunk.expect("recv");
            if chunk.bytes().is_empty() {
                assert_eq!(heard, BYTES);
                return timeouts;
            }
            hears.check(heard, chunk.bytes());
            heard += chunk.bytes().len();
        }
    };
    both(speak, listen).await.1
}

fn a_lossy_link_changes_no_byte<E: Engine>() {
    let cable = move_to_a_lossy_network().expect("tried before");
    let lost = Arc::new(AtomicU64::new(0));
    let losses = Arc::clone(&lost);
    thread::spawn(move || reflect(cable, &losses).expect("the cable"));
    let begun = Instant::now();
    run::<E>(async |rt| {
        let (mut listener, addr) = listen_at(rt, SocketAddr::from((HERE, 0)));
        let connecting = rt.connect(SocketAddr::from((THERE, addr.port())));
        let (accepted, connected) = both(listener.accept(), connecting).await;
        let (one, other) = (Pattern::new(1), Pattern::new(2));
        let (accepted, connected) = (accepted.expect("accept"), connected.expect("connect"));
        let (here, there) = both(converse(rt, accepted, &one, &other), converse(rt, connected, &other, &one)).await;
        println!("{} packets lost, {} timeouts, {:?}", lost.load(Ordering::Relaxed), here + there, begun.elapsed());
        assert!(here + there > 0, "no timeout was put to the test");
    });
    assert!(lost.load(Ordering::Relaxed) > 0, "it was no lossy link");
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    if suite.is_possible("a network of its own with a TUN device", no_lossy_network) {
        on_every_engine!(suite, a_lossy_link_changes_no_byte);
    }
    suite.run()
}

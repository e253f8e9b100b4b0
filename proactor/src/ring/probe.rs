//! Sets up a ring that works: tries what the kernel can do, and leaves out what it can't.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use executor::Seam;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Ring;
use super::buffers::{BufferRing, Group};
use super::setup::Size;
use crate::calls::OPERATIONS;
use crate::error::{SetupError, missing};
use crate::features::{Feature, Features};

/// The rings of receive buffers: for streams, and for datagrams.
pub(crate) type Rings<H> = [BufferRing<H>; 2];

/// The time to retry while the kernel takes down earlier rings. It charges their memory to the user
/// for some 30 ms after they are closed.
const MEMORY_RETRY: Duration = Duration::from_millis(100);

/// Makes a ring. All that is left in `features` was tried and works; the rest is taken out.
///
/// A ring for sockets only cannot be tried: it runs nothing before it is restricted, and a
/// restriction can't be undone. So this tries another ring in its place.
pub(crate) fn ring<H>(
    seam: &Seam,
    size: Size,
    sockets_only: bool,
    features: &mut Features,
) -> Result<(Ring, Option<Rings<H>>), SetupError> {
    let mut ring = new_ring(seam, size, false, features)?;
    let mut buffers = try_out(seam, &mut ring, features)?;
    if sockets_only {
        drop(ring);
        ring = new_ring(seam, size, true, features)?;
        buffers = match buffers {
            Some(_) => Some(register_buffers(seam, &ring, features)?),
            None => None,
        };
        ring.restrict_to_sockets(seam).map_err(|source| missing("restrictions (5.10)", source))?;
    }
    Ok((ring, buffers))
}

/// Makes a ring, untried.
fn new_ring(seam: &Seam, size: Size, is_disabled: bool, features: &mut Features) -> Result<Ring, SetupError> {
    let give_up = Instant::now() + MEMORY_RETRY;
    loop {
        match Ring::new(seam, size, is_disabled, features) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// Tries everything in `features`, and takes out what does not work. Returns the receive buffers,
/// if they work.
fn try_out<H>(seam: &Seam, ring: &mut Ring, features: &mut Features) -> Result<Option<Rings<H>>, SetupError> {
    if !ring.has_ext_arg() {
        return Err(missing("time-outs of io_uring_enter (5.11)", unsupported()));
    }
    if !ring.has_nodrop() {
        return Err(missing("lossless completion queues (5.5)", unsupported()));
    }
    let probe = ring.probe(seam)?;
    if let Some((_, name)) = OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(missing(name, unsupported()));
    }
    let may_have_buffers = features.has(Feature::BufferRing);
    let mut buffers = if may_have_buffers { register_buffers(seam, ring, features).ok() } else { None };
    if buffers.is_none() {
        features.remove(Feature::BufferRing);
        features.remove(Feature::IncrementalBuffers);
        features.remove(Feature::MultishotRecv);
    }
    let (idle, _peer) = UnixStream::pair()?;
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // For an empty address, the kernel makes up a name, outside any file system.
    listener.bind(&SockAddr::unix("")?)?;
    listener.listen(1)?;
    let mut check = |feature, start: &dyn Fn(&mut Ring, u64) -> bool| {
        if features.has(feature) && !is_known(seam, ring, start)? {
            features.remove(feature);
        }
        io::Result::Ok(())
    };
    check(Feature::MultishotRecv, &|ring, name| ring.receive_again(idle.as_fd(), name))?;
    check(Feature::MultishotRecv, &|ring, name| ring.try_receiving_messages(idle.as_fd(), name))?;
    check(Feature::MultishotAccept, &|ring, name| ring.accept_again(listener.as_fd(), name))?;
    check(Feature::MultishotPoll, &|ring, name| ring.poll(idle.as_fd(), true, name))?;
    ring.end_trial();
    if !features.has(Feature::MultishotRecv) {
        // Nothing else picks from the buffers.
        features.remove(Feature::IncrementalBuffers);
        for buffers in buffers.take().into_iter().flatten() {
            ring.unregister_buffers(&buffers)?;
        }
    }
    Ok(buffers)
}

/// Registers the rings of receive buffers. Takes out of `features` what the kernel refuses.
fn register_buffers<H>(seam: &Seam, ring: &Ring, features: &mut Features) -> io::Result<Rings<H>> {
    let register = |group, is_incremental| {
        let buffers = BufferRing::new(group, is_incremental);
        ring.register_buffers(seam, &buffers).map(|()| buffers)
    };
    let mut streams = register(Group::Streams, features.has(Feature::IncrementalBuffers));
    if streams.is_err() && features.has(Feature::IncrementalBuffers) {
        features.remove(Feature::IncrementalBuffers);
        streams = register(Group::Streams, false);
    }
    Ok([streams?, register(Group::Datagrams, false)?])
}

/// Probes a request by submitting it on an idle socket. A kernel that doesn't know it fails it with
/// EINVAL or EOPNOTSUPP at once. One that does keeps it pending until we cancel it (or finds that there is no
/// buffer). There is no other way to probe a flag.
fn is_known(seam: &Seam, ring: &mut Ring, start: &dyn Fn(&mut Ring, u64) -> bool) -> io::Result<bool> {
    const REQUEST: u64 = 1;
    const CANCEL: u64 = 2;
    let started = start(ring, REQUEST) && ring.cancel(REQUEST, CANCEL, false);
    assert!(started, "the ring is empty but for this");
    let mut answers = [None; 2];
    while answers.contains(&None) {
        match ring.pop() {
            Some(completion) if completion.user_data == REQUEST => answers[0] = Some(completion.result),
            Some(completion) => answers[1] = Some(completion.result),
            None => drop(ring.enter(seam, None)?),
        }
    }
    Ok(!matches!(answers[0].map(i32::wrapping_neg), Some(libc::EINVAL | libc::EOPNOTSUPP)))
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

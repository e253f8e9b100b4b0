//! Buffers of up to 5 GiB, on every engine: around the numbers at which a length no longer fits an `int`, an `unsigned`,
//! or what the kernel moves at once. All of their bytes arrive, in their places.
//!
//! cargo run -p tests --bin lengths
//!
//! A command of its own, because it moves some 150 GiB over loopback, through pipes and into files in memory, in a few
//! minutes, and needs 3 GiB of memory at most: the buffers are reserved, and hardly touched.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use executor::{Config, Files, IoBuf, IoBufMut, Net as _, RandomAccess, Reader, Writer};
use rustix::fs::{MemfdFlags, memfd_create};
use tests::net::{V4, pair};
use tests::{Engine, ProactorBare, ProactorFull, ReactorEdge, ReactorLevel, both, elsewhere, unavailable};

const INT: usize = i32::MAX as usize;
const UNSIGNED: usize = u32::MAX as usize;
const LENGTHS: [usize; 7] = [0, 1, INT, INT + 1, UNSIGNED, UNSIGNED + 1, 5 << 30];

/// Places at which something could be cut, with what stands there.
fn marks(len: usize) -> impl Iterator<Item = (usize, u8)> {
    let places = [0, 1 << 30, INT - 4096, INT, INT + 1, UNSIGNED, UNSIGNED + 1, len.saturating_sub(1)];
    let places: BTreeSet<usize> = places.into_iter().filter(|place| *place < len).collect();
    places.into_iter().zip(1..)
}

/// Zeros, of which only the pages with marks are touched.
fn marked(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    marks(len).for_each(|(place, mark)| bytes[place] = mark);
    bytes
}

/// Reads to the end, and insists on zeros and marks in their places.
fn check(mut reader: impl Read, len: usize) -> Result<(), String> {
    let expected: BTreeMap<usize, u8> = marks(len).collect();
    let zeros = vec![0; 1 << 20];
    let (mut piece, mut place) = (vec![0; 1 << 20], 0);
    loop {
        let count = reader.read(&mut piece).map_err(|error| error.to_string())?;
        if count == 0 {
            return if place == len { Ok(()) } else { Err(format!("{place} bytes of {len}")) };
        }
        for (at, mark) in expected.range(place..place + count) {
            if piece[at - place] != *mark {
                return Err(format!("{} instead of {mark} at {at}", piece[at - place]));
            }
            piece[at - place] = 0;
        }
        if piece[..count] != zeros[..count] {
            return Err(format!("a byte that was not sent, between {place} and {}", place + count));
        }
        place += count;
    }
}

/// One half of the length, nothing, and the other half.
fn parts(len: usize) -> Vec<executor::Slice<Shared>> {
    let whole = Shared(Rc::new(marked(len)));
    let ranges = [0..len / 2, 0..0, len / 2..len];
    ranges.map(|range| whole.clone().slice(range)).into()
}

/// Memory that several buffers show parts of.
#[derive(Clone)]
struct Shared(Rc<Vec<u8>>);

impl IoBuf for Shared {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

async fn write_all<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let (mut stream, peer) = pair::<E>(rt).await;
    let (arrived, sent) = both(elsewhere(move || check(peer, len)), async {
        let (result, back) = stream.write_all(marked(len)).await;
        drop(stream);
        result.map_err(|error| error.to_string()).and_then(|()| same(back.len(), len))
    })
    .await;
    sent.and(arrived)
}

async fn write_all_vectored<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let (mut stream, peer) = pair::<E>(rt).await;
    let (arrived, sent) = both(elsewhere(move || check(peer, len)), async {
        let (result, back) = stream.write_all_vectored(parts(len)).await;
        drop(stream);
        result.map_err(|error| error.to_string()).and_then(|()| same(back.len(), 3))
    })
    .await;
    sent.and(arrived)
}

async fn pipe<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let mut writer = rt.pipe_writer(writer).map_err(|error| error.to_string())?;
    let (arrived, sent) = both(elsewhere(move || check(reader, len)), async {
        let (result, back) = writer.write_all(marked(len)).await;
        drop(writer);
        result.map_err(|error| error.to_string()).and_then(|()| same(back.len(), len))
    })
    .await;
    sent.and(arrived)
}

async fn read<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let (mut stream, mut peer) = pair::<E>(rt).await;
    peer.write_all(&[7; 1000]).map_err(|error| error.to_string())?;
    let (result, buffer) = stream.read(vec![0; len]).await;
    match result {
        Err(error) if len == 0 && error.kind() == ErrorKind::InvalidInput => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(count @ 1..=1000) if count <= len => same(buffer[..count].iter().filter(|byte| **byte == 7).count(), count),
        Ok(count) => Err(format!("{count} bytes")),
    }
}

async fn file<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let memory = fs::File::from(memfd_create("lengths", MemfdFlags::CLOEXEC).map_err(|error| text(error.into()))?);
    let file = rt.file_from_std(memory.try_clone().map_err(text)?).map_err(text)?;
    let (result, back) = file.write_at(marked(len), 0).await;
    let written = result.map_err(text)?;
    same(back.len(), len)?;
    drop(back);
    if written > len || (written == 0 && len > 0) {
        return Err(format!("{written} bytes written"));
    }
    // What a write of a part left out, so that there is something to read everywhere.
    memory.set_len(len as u64).map_err(text)?;
    for (place, mark) in marks(len) {
        let mut byte = [0];
        memory.read_exact_at(&mut byte, place as u64).map_err(text)?;
        let expected = if place < written { mark } else { 0 };
        if byte != [expected] {
            return Err(format!("{} instead of {expected} at {place}", byte[0]));
        }
        memory.write_all_at(&[mark], place as u64).map_err(text)?;
    }
    let (result, mut buffer) = file.read_at(vec![0; len], 0).await;
    match result {
        Err(error) if len == 0 && error.kind() == ErrorKind::InvalidInput => Ok(()),
        Err(error) => Err(text(error)),
        Ok(count) if (1..=len).contains(&count) => check(&buffer.bytes_mut()[..count], len).or_else(|said| {
            // The end of a part is no end of the file.
            if count < len && said == format!("{count} bytes of {len}") { Ok(()) } else { Err(said) }
        }),
        Ok(count) => Err(format!("{count} bytes read")),
    }
}

async fn datagram<E: Engine>(rt: &E::Rt, len: usize) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let (one, other) = (rt.bind_udp(V4).map_err(text)?, rt.bind_udp(V4).map_err(text)?);
    let to: SocketAddr = other.local_addr().map_err(text)?;
    // No datagram is so long.
    let (result, back) = one.send_to(vec![0; len], to).await;
    same(back.len(), len)?;
    match result {
        Ok(()) if len <= 1 => drop(other.recv_from().await.map_err(text)?),
        Err(error) if len > 1 && error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {}
        result => return Err(format!("{result:?}")),
    }
    one.send_to("hello", to).await.0.map_err(text)?;
    let (result, buffer) = other.read_from(vec![0; len]).await;
    let (sent, _) = result.map_err(text)?;
    same(sent, if len == 0 { sent } else { 5 })?;
    let fits = len.min(5);
    if buffer[..fits] == b"hello"[..fits] { Ok(()) } else { Err("other bytes".to_owned()) }
}

fn same(found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} instead of {expected}")) }
}

/// Runs one kind of move with every length, and says how it went.
fn run<E: Engine>(what: &str, failed: &Rc<Cell<u32>>, act: impl AsyncFn(&E::Rt, usize) -> Result<(), String>) {
    for len in LENGTHS {
        let (start, rt) = (Instant::now(), E::build(Config::default()).expect("it was tried"));
        let verdict = rt.block_on(act(&rt, len));
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:14} {what:18} {len:>11} {seconds:5.1} s  {}",
            E::NAME,
            verdict.as_ref().err().map_or("ok", |why| why)
        );
        failed.set(failed.get() + u32::from(verdict.is_err()));
    }
}

fn on<E: Engine>(failed: &Rc<Cell<u32>>) {
    if let Some(why) = unavailable::<E>() {
        println!("{}: SKIPPED, cannot be set up here: {why}", E::NAME);
        return;
    }
    run::<E>("write_all", failed, write_all::<E>);
    run::<E>("write_all_vectored", failed, write_all_vectored::<E>);
    run::<E>("pipe write_all", failed, pipe::<E>);
    run::<E>("read", failed, read::<E>);
    run::<E>("file", failed, file::<E>);
    run::<E>("datagram", failed, datagram::<E>);
}

fn main() -> ExitCode {
    let failed = Rc::new(Cell::new(0));
    on::<ReactorLevel>(&failed);
    on::<ReactorEdge>(&failed);
    on::<ProactorFull>(&failed);
    on::<ProactorBare>(&failed);
    println!("{} failed", failed.get());
    ExitCode::from(u8::from(failed.get() > 0))
}

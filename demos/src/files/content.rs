//! Reading, writing and digesting files, block by block.

use std::io::{self, ErrorKind};

use executor::{IoBuf, RandomAccess};
use sha2::{Digest, Sha256};

use super::BLOCK;

/// A digest in the making.
pub struct Checksum(Sha256);

impl Checksum {
    /// Of nothing.
    pub fn new() -> Checksum {
        Checksum(Sha256::new())
    }

    /// Of the first `length` bytes of a file; `progress` is told how many of them are done. It takes one block of
    /// memory, and the loop's time only for a block at once.
    ///
    /// # Errors
    /// Those of reading; `UnexpectedEof` if there are fewer.
    pub async fn of<F: RandomAccess>(file: &F, length: u64, progress: impl Fn(u64)) -> io::Result<Checksum> {
        let (mut checksum, mut done, mut buffer) = (Checksum::new(), 0, vec![0; BLOCK]);
        while done < length {
            let (count, filled) = read_block(file, buffer, done, length).await?;
            checksum.add(&filled[..count]);
            (buffer, done) = (filled, done + count as u64);
            progress(done);
        }
        Ok(checksum)
    }

    /// Goes on with what comes next.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In digits.
    pub fn text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads what is at `place`, some of it, but nothing from `end` on, and at least a byte.
pub async fn read_block<F: RandomAccess>(
    file: &F,
    buffer: Vec<u8>,
    place: u64,
    end: u64,
) -> io::Result<(usize, Vec<u8>)> {
    let most = buffer.len().min(usize::try_from(end - place).unwrap_or(usize::MAX));
    let (read, slice) = file.read_at(buffer.slice(0..most), place).await;
    match read? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => Ok((count, slice.into_inner())),
    }
}

/// Writes the first `count` bytes of the buffer to `place`.
pub async fn write_block<F: RandomAccess>(file: &F, buffer: Vec<u8>, count: usize, place: u64) -> io::Result<Vec<u8>> {
    let (mut buffer, mut written) = (buffer, 0);
    while written < count {
        let (result, slice) = file.write_at(buffer.slice(written..count), place + written as u64).await;
        buffer = slice.into_inner();
        match result? {
            0 => return Err(ErrorKind::WriteZero.into()),
            some => written += some,
        }
    }
    Ok(buffer)
}

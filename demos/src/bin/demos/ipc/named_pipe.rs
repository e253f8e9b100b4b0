//! A named pipe (FIFO): a pipe whose ends are opened by a path, so that processes which have nothing to do with each
//! other can meet. The name is all that is in the file system; the bytes stay in the kernel.
//!
//! See it: `demos ipc --way named-pipe`, or `mkfifo a b; demos ipc --answer named-pipe --at a,b`.
//!
//! Opening one end waits until somebody opens the other. Two who open two pipes in a different order wait for ever. On
//! Linux an open for both reading and writing doesn't wait; the price is that nobody ever sees the end, because
//! each is a writer, too.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat};

use super::channel::{Channel, End, Far, Names, two_names};
use super::pipe::Pipe;

pub fn open() -> io::Result<Channel> {
    // A folder of its own, which nobody else may look into: the names can't be taken, nor can anybody listen.
    let folder = std::env::temp_dir().join(format!("demos-ipc-{:016x}", fastrand::u64(..)));
    let (there, back) = (folder.join("there"), folder.join("back"));
    let remove = folder.clone();
    let names = Names::removed_by(move || {
        let _ = std::fs::remove_dir_all(&remove);
    })?;
    mkdirat(CWD, &folder, Mode::RWXU)?;
    for name in [&there, &back] {
        mknodat(CWD, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    let near = Pipe { reader: both_ways(&back)?, writer: both_ways(&there)? };
    let far = Far { name: format!("{},{}", there.display(), back.display()), ..Far::default() };
    Ok(Channel { near: Box::new(near), far, names })
}

pub fn join(names: &str) -> io::Result<Box<dyn End>> {
    let (there, back) = two_names(names)?;
    Ok(Box::new(Pipe { reader: both_ways(&PathBuf::from(there))?, writer: both_ways(&PathBuf::from(back))? }))
}

fn both_ways(name: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(name)
}

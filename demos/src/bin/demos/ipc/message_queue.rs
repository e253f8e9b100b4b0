//! A POSIX message queue: the kernel keeps messages, not bytes, so one send is one receive, and none is ever found in
//! two halves. Its name begins with a slash and lies in no folder. Each message has a priority; here all are alike.
//!
//! See it: `demos ipc --way message-queue`, and meanwhile `cat /proc/sys/fs/mqueue/msg_max`: how many may wait.
//!
//! The queue stays when all who used it are gone, with what is in it, until it is unlinked or the machine ends.

use std::io;
use std::os::fd::AsRawFd;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use super::channel::{Channel, End, Far, MESSAGE, Message, Names, two_names};

/// Messages that may wait. A conversation has one at a time.
const WAITING: i64 = 4;

pub fn open() -> io::Result<Channel> {
    let stem = format!("/demos-ipc-{:016x}", fastrand::u64(..));
    let (there, back) = (format!("{stem}-there"), format!("{stem}-back"));
    let remove = [there.clone(), back.clone()];
    let names = Names::removed_by(move || {
        for name in &remove {
            let _ = mq_unlink(name.as_str());
        }
    })?;
    let new = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
    let near = Queues { reader: queue(&back, new)?, writer: queue(&there, new)? };
    let far = Far { name: format!("{there},{back}"), ..Far::default() };
    Ok(Channel { near: Box::new(near), far, names })
}

pub fn join(names: &str) -> io::Result<Box<dyn End>> {
    let (there, back) = two_names(names)?;
    let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
    Ok(Box::new(Queues { reader: queue(there, flags)?, writer: queue(back, flags)? }))
}

fn queue(name: &str, flags: MQ_OFlag) -> io::Result<MqdT> {
    let attributes = MqAttr::new(0, WAITING, MESSAGE as i64, 0);
    mq_open(name, flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes)).map_err(io::Error::from)
}

struct Queues {
    reader: MqdT,
    writer: MqdT,
}

impl End for Queues {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        mq_send(&self.writer, message, 0).map_err(io::Error::from)
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        // The kernel refuses a buffer smaller than what the queue's longest message may be.
        let (mut message, mut priority) = ([0; MESSAGE], 0);
        match mq_receive(&self.reader, &mut message, &mut priority)? {
            MESSAGE => Ok(Some(message)),
            length => {
                Err(io::Error::other(format!("a message of {length} bytes on queue {}", self.reader.as_raw_fd())))
            }
        }
    }
}

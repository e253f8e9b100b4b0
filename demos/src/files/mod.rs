//! File transfer: a header that says what comes, then the bytes. Shows a protocol of messages on a stream of bytes,
//! what a receiver must not believe, and files on both kinds of runtime.
//!
//! ```text
//! mkdir -p /tmp/in; demos files receive --folder /tmp/in --listen 127.0.0.1:7070
//! demos files send Cargo.lock README.md --to 127.0.0.1:7070
//! ```
//!
//! Each message is a length in four bytes, the highest first, and so many bytes of JSON. For each file:
//!
//! ```text
//! sender                                                       receiver
//!   length {"name":"notes.txt","size":12,"sha256":"a948..."}  ->
//!                                              <-  length {"send_from":0}       or "refused", or "received"
//!   the bytes from there to the end, with nothing around them ->
//!                                              <-  length {"received":{"bytes":12}}       or "refused"
//! ```
//!
//! A stream has no borders between what was sent one after the other: a length before each message, and the size of
//! the file, put them back. What comes before the bytes is read to its last byte and no further, so nothing of the
//! file is ever mistaken for a message.
//!
//! **A broken connection** loses nothing that has arrived: it stays in a file in the making, whose name holds the
//! digest of the whole. The receiver tells a sender that offers the same file again from where to go
//! on, and ends an older connection that brings nothing any more. At the end the digest of all, what was there before
//! included, must be the one that was offered. The receiver cannot know whether the rest will come, so such a
//! file stays until it does, or until a person deletes it; the receiver says how many there are. What is refused for
//! good (there is no room on the disk, say) leaves nothing behind: the sender does not come again.
//!
//! **The receiver believes nothing**: the name must be a plain one, the size within a limit, and each message short.
//! What it may do to its folder is in `folder.rs`. It holds one block of each file, however large that is.
//!
//! | file | what it is |
//! |---|---|
//! | `message.rs` | the messages |
//! | `peer.rs` | a connection on which nothing takes for ever |
//! | `folder.rs` | the receiver's folder: names, files in the making, what is not overwritten |
//! | `content.rs` | reading, writing and digesting files, block by block |
//! | `uploads.rs` | a new connection takes over from one that died |
//! | `receive.rs`, `send.rs` | the two sides |

mod content;
mod folder;
mod message;
mod peer;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod uploads;

pub use folder::Folder;
pub use message::{LONGEST_MESSAGE, Offer};
pub use receive::{Arrival, Inbox, receive};
pub use send::{Fault, Sender, Sent, Step};
pub use uploads::Uploads;

/// How much of a file is in memory at a time.
pub const BLOCK: usize = 256 * 1024;

//! What a program has to do with others: pipes, signals, children. What there is to say of them is said with
//! [`Net`](executor::Net).

/// A pipe's reading end, or what reads like one: see [`Net::pipe_reader`](executor::Net::pipe_reader).
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use proactor::{Net, PipeReader, Proactor, Reader, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut output: PipeReader = rt.pipe_reader(child.stdout.take().unwrap())?;
/// let mut input = rt.pipe_writer(child.stdin.take().unwrap())?;
/// rt.block_on(async {
///     input.write_all("hello").await.0?;
///     input.shutdown().await?;
///     assert_eq!(&*output.recv().await?, b"HELLO");
///     assert!(rt.wait_for_exit(&mut child).await?.success());
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type PipeReader = crate::ReadHalf;

/// A pipe's writing end, or what writes like one: see [`Net::pipe_writer`](executor::Net::pipe_writer).
///
/// ```
/// use proactor::{Net, PipeReader, PipeWriter, Proactor, Reader, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let (reader, writer) = std::io::pipe()?;
/// let mut reader: PipeReader = rt.pipe_reader(reader)?;
/// let mut writer: PipeWriter = rt.pipe_writer(writer)?;
/// rt.block_on(async {
///     writer.write_all("hello").await.0?;
///     assert_eq!(&*reader.recv().await?, b"hello");
///     writer.shutdown().await?;
///     assert!(reader.recv().await?.is_empty());
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type PipeWriter = executor::PipeWriter<crate::WriteHalf>;

/// The signals that come to this process: see [`Net::signals`](executor::Net::signals).
///
/// ```
/// use proactor::{Net, Proactor, Signals};
/// # use signal_hook::{consts::{SIGHUP, SIGTERM}, low_level::raise};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let mut signals: Signals = rt.signals([SIGHUP, SIGTERM])?;
/// rt.block_on(async {
///     raise(SIGTERM)?;
///     assert_eq!(signals.next().await?, SIGTERM);
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type Signals = executor::Signals<crate::TcpStream>;

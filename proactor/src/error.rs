//! The reasons why io_uring can't be used here, and the remedies.

use std::fmt;
use std::io;

/// The reason why io_uring can't be used here. Its text names the remedy.
///
/// # Examples
///
/// ```
/// use proactor::Proactor;
///
/// match Proactor::new() {
///     Ok(rt) => rt.block_on(async { println!("it runs") }),
///     Err(error) => println!("{error}"), // and says what to do about it
/// }
/// ```
#[derive(Debug)]
pub struct SetupError {
    gate: Gate,
    source: io::Error,
}

/// The obstacle.
///
/// # Examples
///
/// ```
/// use proactor::{Gate, Proactor};
///
/// let error = Proactor::new().err();
/// if error.is_some_and(|error| matches!(error.gate(), Gate::Seccomp | Gate::Sysctl)) {
///     println!("io_uring is forbidden here: runs on epoll");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// The kernel has no io_uring.
    NoSyscall,
    /// `kernel.io_uring_disabled` forbids it.
    Sysctl,
    /// A seccomp filter forbids it, as the default filters of containers do.
    Seccomp,
    /// The limit on locked memory is too low.
    Memlock,
    /// There are no free descriptors.
    Descriptors,
    /// The kernel's io_uring is too old. The text names the missing feature.
    Missing(&'static str),
    /// Another reason.
    Other,
}

impl Gate {
    fn of(error: &io::Error) -> Gate {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Gate::NoSyscall,
            Some(libc::EPERM | libc::EACCES | libc::EOPNOTSUPP) => match std::fs::read_to_string(SYSCTL) {
                Ok(value) if matches!(value.trim(), "1" | "2") => Gate::Sysctl,
                _ => Gate::Seccomp,
            },
            Some(libc::ENOMEM) => Gate::Memlock,
            Some(libc::EMFILE | libc::ENFILE) => Gate::Descriptors,
            _ => Gate::Other,
        }
    }
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

impl SetupError {
    /// Returns the obstacle.
    ///
    /// # Examples
    ///
    /// ```
    /// if let Err(error) = proactor::Proactor::new() {
    ///     println!("the obstacle: {:?}", error.gate());
    /// }
    /// ```
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Returns the problem, and the remedy.
    fn text(&self) -> (&'static str, &'static str) {
        match self.gate {
            Gate::NoSyscall => (
                "the kernel has no io_uring",
                "it is older than 5.11, built without CONFIG_IO_URING, or a filter hides the call: use \
                 another kernel, or an engine on epoll",
            ),
            Gate::Sysctl => ("kernel.io_uring_disabled forbids io_uring", "as root: sysctl kernel.io_uring_disabled=0"),
            Gate::Seccomp => (
                "a seccomp filter forbids io_uring",
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile \
                 (docker run --security-opt seccomp=PROFILE)",
            ),
            Gate::Memlock => (
                "there is not enough lockable memory for a ring",
                "raise the limit (ulimit -l; LimitMEMLOCK= in systemd), or ask for a smaller ring with \
                 Builder::operations",
            ),
            Gate::Descriptors => {
                ("there are no free descriptors for a ring", "raise the limit (ulimit -n), or close some")
            }
            Gate::Missing(ability) => (ability, "use a kernel from 5.11 on, or an engine on epoll"),
            Gate::Other => ("io_uring can't be set up", "see the error's number in io_uring_setup(2)"),
        }
    }

    /// Returns the remedy.
    ///
    /// # Examples
    ///
    /// ```
    /// if let Err(error) = proactor::Proactor::new() {
    ///     println!("the remedy: {}", error.remedy());
    /// }
    /// ```
    pub fn remedy(&self) -> &'static str {
        self.text().1
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = self.text();
        let lacks = if matches!(self.gate, Gate::Missing(_)) { "io_uring lacks " } else { "" };
        write!(f, "{lacks}{what} ({}); {remedy}", self.source)
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for SetupError {
    fn from(source: io::Error) -> Self {
        SetupError { gate: Gate::of(&source), source }
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}

pub(crate) fn missing(ability: &'static str, source: io::Error) -> SetupError {
    SetupError { gate: Gate::Missing(ability), source }
}

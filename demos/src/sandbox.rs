//! The way into a sandbox: once a server is set up, it gives up for good what it will not need.
//!
//! A mistake in a server may let a client run code in it. Out of here, that code can go on serving, badly,
//! and little else. Two locks belong together, because neither sees what the other does:
//!
//! | lock | keeps out | does not see |
//! |---|---|---|
//! | a seccomp filter ([`enter`]) | system calls: other programs, other processes' memory, new io_uring rings, sockets other than TCP/IP's and UNIX's | what a ring is asked to do |
//! | the ring's own restrictions (`proactor`'s `Builder::sockets_only`) | requests that are not for sockets, such as to open a file | other rings |
//!
//! What is refused fails with `EPERM`, so that a mistake in this list is an error and not the end. Files stay
//! within reach of plain system calls, for a server of files opens them: the rights of its user bound that,
//! and `openat2` bounds the server.

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, apply_filter_all_threads,
};

/// What is refused whatever its arguments. With `ptrace` go those that read and write another process by
/// another name.
const REFUSED: [i64; 8] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_register,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
];
/// The families of sockets that can still be had.
const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Why there is no sandbox. Its text names the remedy.
#[derive(Debug)]
pub struct SandboxError(seccompiler::Error);

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}. A sandbox needs a kernel with seccomp filters (CONFIG_SECCOMP_FILTER, on x86-64 or another \
             architecture that has them), and a container that lets its processes add one: use such, or run \
             without --sandbox",
            self.0
        )
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Puts all threads of this process, and whatever they will start, into the sandbox. There is no way out.
///
/// Rings that exist go on. They can be entered, but nothing can be registered with them any more.
///
/// # Errors
/// If the kernel has no such filters, or refuses this one.
pub fn enter() -> Result<(), SandboxError> {
    filter().and_then(|filter| apply_filter_all_threads(&filter)).map_err(SandboxError)
}

/// Finds out whether [`enter`] would succeed, at the cost of a thread.
///
/// # Errors
/// As those of [`enter`].
pub fn check() -> Result<(), SandboxError> {
    // A filter holds for the thread that installs it, and ends with it.
    let tried = std::thread::spawn(|| filter().and_then(|filter| apply_filter(&filter)));
    tried.join().expect("installing a filter does not panic").map_err(SandboxError)
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let is_not = |family: i32| {
        // The kernel looks at the lower half of the argument only.
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    let other_family = SeccompRule::new(FAMILIES.into_iter().map(is_not).collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_socket, vec![other_family]);
    add_other_names(&mut rules);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // A process of another architecture, such as 32-bit code would be, is killed by any filter of the crate.
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// On x86-64 most kernels know every call by a second number: that of the x32 variant, which counts as the
/// same architecture.
#[cfg(target_arch = "x86_64")]
fn add_other_names(rules: &mut BTreeMap<i64, Vec<SeccompRule>>) {
    const X32: i64 = 0x4000_0000;
    // execve, ptrace, process_vm_readv, process_vm_writev, execveat: these have numbers of their own.
    let special = [520, 521, 539, 540, 545].map(|call| (X32 | call, Vec::new()));
    let same: Vec<_> = rules.iter().map(|(call, rules)| (X32 | call, rules.clone())).collect();
    rules.extend(same.into_iter().chain(special));
}

#[cfg(not(target_arch = "x86_64"))]
fn add_other_names(_rules: &mut BTreeMap<i64, Vec<SeccompRule>>) {}

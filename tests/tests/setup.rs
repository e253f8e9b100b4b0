//! Goal: where a runtime can't be had, the error says why and what to do, whatever it was that failed; nothing
//! panics, hangs or stays open. What passes (a user's memory still charged for earlier rings) is waited for.
//!
//! Method: every call of setting a runtime up fails, from the first one on; real limits of descriptors and of
//! lockable memory, the latter as a user whom they bind; real filters of system calls.

use std::process::ExitCode;

use executor::{Config, IoBuf, Judge, ListenOptions, Listener, Reader, Runtime, Verdict, Writer, judge_setups};
use proactor::{Builder, Feature, Gate, Proactor, SetupError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::filters::{no_filters, refuse};
use tests::judges::errno::{EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM};
use tests::judges::{at, every, first};
use tests::net::V4;
use tests::{Engine, ProactorFull, Suite, ms, on_every_engine, open_fds};

/// Builds a runtime under a judge.
fn judged<T>(judge: Judge, build: impl FnOnce() -> T) -> T {
    judge_setups(Some(judge));
    let built = build();
    judge_setups(None);
    built
}

fn refused(errno: i32) -> SetupError {
    let refuse = every("io_uring_setup", 1, Verdict::Fail(errno));
    judged(refuse, || Builder::new().build()).map(drop).expect_err("a ring without its system call")
}

/// The errno of io_uring_setup, the gate that it means, and words of the remedy.
const GATES: [(i32, Gate, &str); 7] = [
    (ENOSYS, Gate::NoSyscall, "another kernel"),
    (EPERM, Gate::Seccomp, "--security-opt seccomp"),
    (EOPNOTSUPP, Gate::Seccomp, "--security-opt seccomp"),
    (ENOMEM, Gate::Memlock, "ulimit -l"),
    (EMFILE, Gate::Descriptors, "ulimit -n"),
    (ENFILE, Gate::Descriptors, "ulimit -n"),
    (5, Gate::Other, "io_uring_setup(2)"),
];

fn a_closed_gate_is_named() {
    let before = open_fds();
    for (errno, gate, remedy) in GATES {
        let error = refused(errno);
        assert_eq!(error.gate(), gate, "errno {errno}: {error}");
        assert!(error.to_string().contains(remedy) && error.remedy().contains(remedy), "errno {errno}: {error}");
        assert!(error.to_string().contains(&format!("os error {errno}")), "{error}");
        let error = std::io::Error::from(error);
        assert!(error.to_string().contains(remedy), "{error}");
    }
    assert_eq!(open_fds(), before);
}

/// The kernel itself refuses. Docker's filter says EPERM, others EOPNOTSUPP; what is older than the system call says
/// ENOSYS.
fn a_real_filter_is_named() {
    let before = open_fds();
    for (errno, gate, remedy) in GATES.into_iter().filter(|(errno, ..)| [ENOSYS, EPERM, EOPNOTSUPP].contains(errno)) {
        let tried = std::thread::spawn(move || {
            refuse(libc::SYS_io_uring_setup, errno);
            [(); 3].map(|()| Builder::new().build().map(drop).expect_err("a ring without its system call"))
        });
        for error in tried.join().expect("no panic") {
            assert_eq!(error.gate(), gate, "errno {errno}: {error}");
            assert!(error.to_string().contains(remedy), "errno {errno}: {error}");
        }
    }
    assert_eq!(Builder::new().build().expect("the filters ended with their threads").block_on(async { 7 }), 7);
    assert_eq!(open_fds(), before);
}

/// EINVAL is what an older kernel says to a flag it doesn't know.
fn an_older_kernel_gets_fewer_flags() {
    let refused = |times| judged(first("io_uring_setup", times, Verdict::Fail(EINVAL)), || Builder::new().build());
    let newest_first = [Feature::NoSqArray, Feature::DeferTaskrun, Feature::SubmitAll];
    for times in 1..=3 {
        let rt = refused(times as u64).unwrap();
        for feature in &newest_first[..times] {
            assert!(!rt.features().has(*feature), "{feature:?} after {times} refusals");
        }
        assert_eq!(rt.block_on(async { 7 }), 7);
    }
    assert_eq!(refused(4).map(drop).unwrap_err().gate(), Gate::Other);
}

/// Any registration may be refused: a fallback takes its place, or the error says what is missing.
fn refused_registrations_have_fallbacks() {
    for k in 0..8 {
        for errno in [EINVAL, EPERM, EOPNOTSUPP, ENOMEM] {
            let before = open_fds();
            let built = judged(at("io_uring_register", k, Verdict::Fail(errno)), || Builder::new().build());
            match built {
                Ok(rt) => assert_eq!(rt.block_on(async { 7 }), 7),
                Err(error) => assert!(k == 1, "only the probe can't be done without; call {k}: {error}"),
            }
            assert_eq!(open_fds(), before, "call {k}, errno {errno}");
        }
    }
}

/// Rings that were closed stay charged for some milliseconds.
fn memory_that_comes_back_is_waited_for() {
    let rt = judged(first("io_uring_setup", 5, Verdict::Fail(ENOMEM)), || Builder::new().build());
    assert_eq!(rt.expect("five tries of 5 ms each are well below 100 ms").block_on(async { 7 }), 7);
}

/// Starts and serves under limits of 6 to 64 descriptors: an error or service, never a panic, a hang or a
/// descriptor that stays.
fn every_step_of_a_start_can_fail<E: Engine>() {
    let limit = getrlimit(Resource::Nofile);
    let (mut served, mut refused) = (0, 0);
    for current in 6..=64 {
        let before = open_fds();
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }).unwrap();
        let outcome = start_and_serve::<E>();
        setrlimit(Resource::Nofile, limit).unwrap();
        match outcome {
            Ok(()) => served += 1,
            Err(error) => {
                let text = error.to_string();
                let is_clear = text.contains("Too many open files") || text.contains("ulimit -n");
                // Accepting is the one step that waits for better times.
                assert!(is_clear || text.contains("the time is over"), "at the limit of {current}: {text}");
                refused += 1;
            }
        }
        assert_eq!(open_fds(), before, "at the limit of {current}");
    }
    println!("refused {refused}, served {served}");
    assert!(refused > 0 && served > 30, "refused {refused}, served {served}");
}

fn start_and_serve<E: Engine>() -> std::io::Result<()> {
    let rt = E::build(Config::default())?;
    rt.block_on(async {
        let mut listener = rt.listen(V4, &ListenOptions::default())?;
        let addr = listener.local_addr()?;
        let mut client = rt.connect(addr).await?;
        let accepted = rt.timeout(ms(100), listener.accept()).await;
        let mut server = accepted.map_err(std::io::Error::from)??;
        client.write_all("hello").await.0?;
        let chunk = server.recv().await?;
        assert_eq!(chunk.bytes(), b"hello");
        Ok(())
    })
}

/// Lockable memory is charged to the user, and only root is free of it.
fn become_nobody(lockable: u64) {
    use rustix::process::Uid;
    setrlimit(Resource::Memlock, Rlimit { current: Some(lockable), maximum: Some(lockable) }).unwrap();
    let nobody = Uid::from_raw(65534);
    // Of this thread, which is the one that makes the rings.
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
}

fn why_not_root() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| "needs root, to become nobody".to_owned())
}

/// The number the next descriptor will get. (/proc is closed to somebody who was another.)
fn next_descriptor() -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap())
}

fn too_little_lockable_memory_is_named() {
    let before = next_descriptor();
    become_nobody(64 * 1024);
    for _ in 0..3 {
        let error = Builder::new().build().map(drop).expect_err("a ring takes more than 64 KiB");
        assert_eq!(error.gate(), Gate::Memlock, "{error}");
        assert!(error.to_string().contains("ulimit -l"), "{error}");
    }
    assert_eq!(next_descriptor(), before);
}

fn no_lockable_memory_is_named() {
    become_nobody(0);
    let error = Builder::new().operations(4).build().map(drop).expect_err("a ring takes some");
    assert_eq!(error.gate(), Gate::Memlock, "{error}");
}

/// The memory of each is charged until some 30 ms after its end, and 8 MiB hold some twenty.
fn a_thousand_runtimes_in_a_row_as_nobody() {
    let before = next_descriptor();
    become_nobody(8 << 20);
    for n in 0..1000 {
        let rt = Proactor::new().unwrap_or_else(|error| panic!("runtime {n}: {error}"));
        assert_eq!(rt.block_on(async { 7 }), 7);
    }
    assert_eq!(next_descriptor(), before);
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, every_step_of_a_start_can_fail);
    if suite.is_available::<ProactorFull>() {
        suite.limit(120);
        let mut cases: Vec<(&str, fn())> = vec![
            ("a_closed_gate_is_named", a_closed_gate_is_named),
            ("an_older_kernel_gets_fewer_flags", an_older_kernel_gets_fewer_flags),
            ("refused_registrations_have_fallbacks", refused_registrations_have_fallbacks),
            ("memory_that_comes_back_is_waited_for", memory_that_comes_back_is_waited_for),
        ];
        if suite.is_possible("seccomp filters", no_filters) {
            cases.push(("a_real_filter_is_named", a_real_filter_is_named));
        }
        if suite.is_possible("limits of lockable memory", why_not_root) {
            cases.extend([
                ("too_little_lockable_memory_is_named", too_little_lockable_memory_is_named as fn()),
                ("no_lockable_memory_is_named", no_lockable_memory_is_named),
                ("a_thousand_runtimes_in_a_row_as_nobody", a_thousand_runtimes_in_a_row_as_nobody),
            ]);
        }
        for (name, body) in cases {
            suite.add_plain(&format!("{}::{name}", ProactorFull::NAME), body);
        }
    }
    suite.run()
}

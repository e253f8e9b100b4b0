//! Goal: the way of a byte through each runtime is short enough to follow: no file is entered more than twice on the way
//! from `recv().await` to the system call and back, except where this file says so, and why.
//!
//! Method: the two ways are written down here, a step a line. A look at the source checks each line: the function exists,
//! and the step before it calls it by name. Where no call leads on (a waker, the kernel, a future that is polled), the
//! step says what does. A way is true to the source, not to a run: it takes the usual branch, where a task waits.
//!
//! An *entry* is a step into a file from another one. Steps in one file in a row are one entry. A return is none: the
//! caller is still open. But what the caller calls next may be one.
//!
//! Left out are calls that keep, find or count something and return at once: the table, the slots of wakers, the list of
//! what fired, the seam. Level-triggered, the reactor also asks epoll, between the poll and the sleep: `flush_later`, and
//! `flush` in `context.rs` and `source.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use tests::Suite;

/// How often a file may be entered on a way.
const BUDGET: usize = 2;
/// Stands for the file of a system call.
const KERNEL: &str = "the kernel";

/// One step of a way.
#[derive(Clone, Copy)]
struct Step {
    file: &'static str,
    /// `Type::method`, or a function.
    function: &'static str,
    reached: Reached,
}

/// What leads to a step.
#[derive(Clone, Copy)]
enum Reached {
    /// The step before calls it. The first step is called by the program.
    Call,
    /// What it called has returned, and it goes on.
    Return,
    /// Something else: a word for it, and how.
    By(&'static str, &'static str),
}

const fn call(file: &'static str, function: &'static str) -> Step {
    Step { file, function, reached: Reached::Call }
}

const fn back_to(file: &'static str, function: &'static str) -> Step {
    Step { file, function, reached: Reached::Return }
}

const fn by(word: &'static str, how: &'static str, file: &'static str, function: &'static str) -> Step {
    Step { file, function, reached: Reached::By(word, how) }
}

const fn system_call(name: &'static str) -> Step {
    call(KERNEL, name)
}

/// A byte that arrives while a task waits for it, edge-triggered.
const REACTOR: &[Step] = &[
    // The program calls recv, and awaits it.
    call("executor/src/io/tcp.rs", "TcpStream::recv"),
    call("executor/src/io/tcp.rs", "ReadHalf::recv"),
    call("reactor/src/tcp.rs", "StreamSocket::recv"),
    call("reactor/src/registration.rs", "Registration::io"),
    call("reactor/src/registration.rs", "Place::poll"),
    // The last receive was short, so a try would block: the task parks.
    call("reactor/src/source.rs", "Source::attempt"),
    back_to("reactor/src/registration.rs", "Place::poll"),
    call("reactor/src/source.rs", "Source::park"),
    // No task is ready: the loop sleeps in the kernel.
    by("loop", "the poll of the task is over", "executor/src/run/event_loop.rs", "EventLoop::block_on"),
    call("executor/src/run/event_loop.rs", "EventLoop::turn"),
    call("reactor/src/driver.rs", "EpollDriver::turn"),
    call("reactor/src/epoll.rs", "Epoll::wait"),
    call("reactor/src/epoll.rs", "Epoll::wait_nanoseconds"),
    system_call("epoll_pwait2"),
    // The byte is there: epoll names the source, and the source its task.
    back_to("reactor/src/driver.rs", "EpollDriver::turn"),
    call("reactor/src/source.rs", "Source::event"),
    back_to("executor/src/run/event_loop.rs", "EventLoop::turn"),
    call("executor/src/run/event_loop.rs", "EventLoop::act"),
    by("waker", "the table of the std Waker leads here", "executor/src/tasks/queue.rs", "TaskWaker::wake_by_ref"),
    call("executor/src/tasks/queue.rs", "TaskWaker::wake"),
    call("executor/src/tasks/queue.rs", "TaskWaker::wake_local"),
    // The loop polls the task, which tries again. This call moves the byte.
    back_to("executor/src/run/event_loop.rs", "EventLoop::block_on"),
    call("executor/src/run/event_loop.rs", "EventLoop::run_batch"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll_unwatched"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll_task"),
    call("executor/src/tasks/task.rs", "TaskCell::run"),
    by("future", "the program's future polls the one it awaits", "reactor/src/registration.rs", "Place::poll"),
    call("reactor/src/source.rs", "Source::attempt"),
    by("closure", "`recv` gave it to `io`, as the call to try", "reactor/src/tcp.rs", "StreamSocket::recv"),
    call("reactor/src/pool.rs", "Pool::lend"),
    back_to("reactor/src/tcp.rs", "StreamSocket::recv"),
    call("reactor/src/tcp.rs", "StreamSocket::try_recv"),
    call("reactor/src/source.rs", "Source::recv"),
    call("reactor/src/sys.rs", "Sys::recv"),
    system_call("recv"),
    // It returns into the chunk, and the chunk to the program.
    back_to("reactor/src/tcp.rs", "StreamSocket::recv"),
    call("reactor/src/pool.rs", "Chunk::filled"),
];

/// A byte that arrives while a task waits for it, on a kernel that fills the pool's blocks.
const PROACTOR: &[Step] = &[
    // The program calls recv, and awaits it. Nothing has arrived, and no receive is in flight.
    call("executor/src/io/tcp.rs", "TcpStream::recv"),
    call("executor/src/io/tcp.rs", "ReadHalf::recv"),
    call("proactor/src/tcp.rs", "StreamSocket::recv"),
    call("proactor/src/hold.rs", "Hold::arrival"),
    by("future", "`arrival` makes it, and `recv` polls it", "proactor/src/hold.rs", "Arrival::poll"),
    // A receive begins: the slot owns it, the queue of submissions names it. Then the task parks.
    by("pointer", "`recv` gave it to `arrival`, as `fill`", "proactor/src/tcp.rs", "fill_stream"),
    call("proactor/src/submit.rs", "Operations::start"),
    call("proactor/src/op.rs", "Slots::insert"),
    back_to("proactor/src/submit.rs", "Operations::start"),
    call("proactor/src/submit.rs", "Operations::push_or_wait"),
    call("proactor/src/submit.rs", "Operations::push"),
    call("proactor/src/op.rs", "Slots::launch"),
    call("proactor/src/op/kind.rs", "Kind::entry"),
    call("proactor/src/op/receive.rs", "RecvMultishot::entry"),
    back_to("proactor/src/submit.rs", "Operations::push"),
    call("proactor/src/ring.rs", "Ring::push"),
    back_to("proactor/src/hold.rs", "Arrival::poll"),
    // No task is ready: the loop submits, and sleeps in the kernel, which moves the byte.
    by("loop", "the poll of the task is over", "executor/src/run/event_loop.rs", "EventLoop::block_on"),
    call("executor/src/run/event_loop.rs", "EventLoop::turn"),
    call("proactor/src/driver.rs", "UringDriver::turn"),
    call("proactor/src/ring.rs", "Ring::enter"),
    system_call("SYS_io_uring_enter"),
    // The byte is here: the completion names the operation, and the block it is in.
    back_to("proactor/src/driver.rs", "UringDriver::turn"),
    call("proactor/src/driver.rs", "UringDriver::reap"),
    call("proactor/src/ring.rs", "Ring::pop"),
    back_to("proactor/src/driver.rs", "UringDriver::reap"),
    call("proactor/src/submit.rs", "Operations::complete"),
    call("proactor/src/op.rs", "Slots::complete"),
    call("proactor/src/op/kind.rs", "Kind::fill"),
    call("proactor/src/op/receive.rs", "RecvMultishot::fill"),
    call("proactor/src/pool.rs", "Pool::take"),
    call("proactor/src/ring/buffers.rs", "BufferRing::take"),
    back_to("proactor/src/op/receive.rs", "RecvMultishot::fill"),
    call("proactor/src/socket.rs", "Incoming::push"),
    call("proactor/src/socket.rs", "Incoming::wake"),
    back_to("executor/src/run/event_loop.rs", "EventLoop::turn"),
    call("executor/src/run/event_loop.rs", "EventLoop::act"),
    by("waker", "the table of the std Waker leads here", "executor/src/tasks/queue.rs", "TaskWaker::wake_by_ref"),
    call("executor/src/tasks/queue.rs", "TaskWaker::wake"),
    call("executor/src/tasks/queue.rs", "TaskWaker::wake_local"),
    // The loop polls the task, which takes the chunk.
    back_to("executor/src/run/event_loop.rs", "EventLoop::block_on"),
    call("executor/src/run/event_loop.rs", "EventLoop::run_batch"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll_unwatched"),
    call("executor/src/run/event_loop.rs", "EventLoop::poll_task"),
    call("executor/src/tasks/task.rs", "TaskCell::run"),
    by("future", "the program's future polls the one it awaits", "proactor/src/tcp.rs", "StreamSocket::recv"),
    call("proactor/src/hold.rs", "Arrival::poll"),
    call("proactor/src/socket.rs", "Incoming::take"),
];

/// A file that is entered more often than the budget allows.
struct Exception {
    file: &'static str,
    entries: usize,
    why: &'static str,
}

const REACTOR_EXCEPTIONS: &[Exception] = &[Exception {
    file: "reactor/src/source.rs",
    entries: 5,
    why: "each entry is a row of its table (try, park, event, try) or the call itself: all that differs between level \
          and edge is in one file",
}];

const PROACTOR_EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "proactor/src/tcp.rs",
        entries: 3,
        why: "what to start on an idle stream is said next to the stream, and `hold.rs`, which knows when, serves \
              listeners, too",
    },
    Exception {
        file: "proactor/src/op.rs",
        entries: 3,
        why: "an operation gets its slot, is launched and completes, and `submit.rs` comes before each: the file with \
              the rule about memory knows no ring",
    },
    Exception { file: "proactor/src/ring.rs", entries: 3, why: "a ring has three uses: push, enter, pop" },
];

/// Gives the text of a file.
type Text<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is wrong with a way, a line each.
fn faults(way: &[Step], text: Text<'_>) -> Vec<String> {
    let mut files = BTreeMap::new();
    let mut faults = Vec::new();
    for (number, step) in way.iter().enumerate() {
        let name = format!("step {}, {} in {}", number + 1, step.function, step.file);
        let functions = files.entry(step.file).or_insert_with(|| functions_of(&text(step.file).unwrap_or_default()));
        let bodies = functions.iter().filter(|function| function.name == step.function).count();
        if step.file != KERNEL && bodies != 1 {
            faults.push(format!("{name}: there are {bodies} such functions"));
        }
        let before = &way[..number];
        let last = step.function.rsplit("::").next().expect("the last part");
        let is_called = |caller: &Step| {
            files[caller.file].iter().any(|function| function.name == caller.function && function.calls(last))
        };
        match (step.reached, before.last()) {
            (Reached::Call, Some(caller)) if !is_called(caller) => {
                faults.push(format!("{name}: {} does not call it", caller.function));
            }
            (Reached::Return, _)
                if !before.iter().any(|open| (open.file, open.function) == (step.file, step.function)) =>
            {
                faults.push(format!("{name}: it was not called before, so nothing returns to it"));
            }
            (Reached::By(word, how), _) if word.is_empty() || how.is_empty() => {
                faults.push(format!("{name}: nothing says what leads to it"));
            }
            _ => {}
        }
    }
    faults
}

/// How often each file is entered.
fn entries(way: &[Step]) -> BTreeMap<&str, usize> {
    let mut entries = BTreeMap::new();
    for (number, step) in way.iter().enumerate().filter(|(_, step)| step.file != KERNEL) {
        let is_inside = number > 0 && way[number - 1].file == step.file;
        if !is_inside && !matches!(step.reached, Reached::Return) {
            *entries.entry(step.file).or_insert(0) += 1;
        }
    }
    entries
}

/// The files that break the budget, and the exceptions that are none any more.
fn over_budget(way: &[Step], exceptions: &[Exception]) -> Vec<String> {
    let mut entries = entries(way);
    let mut faults = Vec::new();
    for Exception { file, entries: held, why } in exceptions {
        let found = entries.remove(file).unwrap_or(0);
        if found != *held || found <= BUDGET {
            faults.push(format!("{file} is entered {found} times, and the exception says {held} ({why})"));
        }
    }
    let over = entries.into_iter().filter(|(_, count)| *count > BUDGET);
    faults.extend(over.map(|(file, count)| format!("{file} is entered {count} times")));
    faults
}

/// A function with a body.
struct Function {
    /// With its type, if it has one: `Type::method`.
    name: String,
    /// The names and signs in its body.
    body: Vec<String>,
}

impl Function {
    fn calls(&self, name: &str) -> bool {
        // A system call can be an argument: `syscall(SYS_io_uring_enter, ...)`.
        let is_end = |sign: &str| sign == "(" || (name.starts_with("SYS_") && sign == ",");
        self.body.windows(2).any(|pair| pair[0] == name && is_end(&pair[1]))
    }
}

/// The functions of a file: free ones, and methods under the names of their types. Those of inner modules are left out.
fn functions_of(source: &str) -> Vec<Function> {
    let stream: TokenStream = source.parse().expect("Rust source");
    let (mut found, mut header) = (Vec::new(), Vec::new());
    for token in stream {
        match &token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let header = std::mem::take(&mut header);
                if header.iter().any(|word| word == "impl") && !header.iter().any(|word| word == "fn") {
                    let kind = self_type(&header);
                    found.extend(functions_in(group.stream()).map(|(name, body)| (format!("{kind}::{name}"), body)));
                } else {
                    found.extend(function(&header, group.stream()));
                }
            }
            TokenTree::Punct(sign) if sign.as_char() == ';' => header.clear(),
            _ => flatten(TokenStream::from(token), &mut header),
        }
    }
    found.into_iter().map(|(name, body)| Function { name, body }).collect()
}

/// The functions between the braces of an `impl`, by their names.
fn functions_in(stream: TokenStream) -> impl Iterator<Item = (String, Vec<String>)> {
    let mut header = Vec::new();
    stream.into_iter().filter_map(move |token| match &token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            function(&std::mem::take(&mut header), group.stream())
        }
        TokenTree::Punct(sign) if sign.as_char() == ';' => {
            header.clear();
            None
        }
        _ => {
            flatten(TokenStream::from(token), &mut header);
            None
        }
    })
}

/// The function that a header and a body make, if they make one.
fn function(header: &[String], body: TokenStream) -> Option<(String, Vec<String>)> {
    let place = header.iter().position(|word| word == "fn")?;
    let mut words = Vec::new();
    flatten(body, &mut words);
    Some((header.get(place + 1)?.clone(), words))
}

/// The type that an `impl` is for, without its arguments.
fn self_type(header: &[String]) -> String {
    let mut start = header.iter().position(|word| word == "impl").expect("an impl") + 1;
    let mut depth = 0;
    let (mut names, mut is_arrow) = (Vec::new(), false);
    while start < header.len() && header[start] != "where" {
        match header[start].as_str() {
            "<" => depth += 1,
            ">" if !is_arrow => depth -= 1,
            "for" if depth == 0 => names.clear(),
            word if depth == 0 && word.starts_with(|letter: char| letter.is_alphabetic()) => {
                names.push(word.to_owned())
            }
            _ => {}
        }
        is_arrow = header[start] == "-";
        start += 1;
    }
    names.pop().unwrap_or_default()
}

/// The names and signs of some source, in a row. Comments are not among them, nor is what strings say.
fn flatten(stream: TokenStream, words: &mut Vec<String>) {
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                words.push(open.to_owned());
                flatten(group.stream(), words);
                words.push(close.to_owned());
            }
            TokenTree::Ident(name) => words.push(name.to_string()),
            TokenTree::Punct(sign) => words.push(sign.as_char().to_string()),
            TokenTree::Literal(_) => words.push("0".to_owned()),
        }
    }
}

fn on_disk(file: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(file)).ok()
}

fn the_way_is_as_written(way: &[Step], exceptions: &[Exception]) {
    let mut faults = faults(way, &on_disk);
    faults.extend(over_budget(way, exceptions));
    assert!(faults.is_empty(), "{faults:#?}");
}

fn a_byte_on_the_reactor() {
    the_way_is_as_written(REACTOR, REACTOR_EXCEPTIONS);
}

fn a_byte_on_the_proactor() {
    the_way_is_as_written(PROACTOR, PROACTOR_EXCEPTIONS);
}

/// A small source. What comments and strings name is not called.
fn small(file: &str) -> Option<String> {
    let source = match file {
        "a" => {
            "impl<T: Fn() -> u8> super::Ask<u8> for A<T> where T: Copy { fn ask(&self) { b(1); self.c; /* e() */ } }
                impl A<u8> { fn tell(&self); fn b(&self) { self.ask() } } mod inner { fn hidden() {} }"
        }
        "b" => {
            "fn b(x: [u8; 3]) -> u8 { \"e()\"; libc::read(2) } fn twice() {} impl B { const C: u8 = { 1 }; }
                #[cfg(test)] fn twice() {}"
        }
        _ => return None,
    };
    Some(source.to_owned())
}

fn a_wrong_step_is_found() {
    let right = [call("a", "A::b"), call("a", "A::ask"), call("b", "b"), system_call("read"), back_to("a", "A::b")];
    assert_eq!(faults(&right, &small), [""; 0]);
    for (way, expected) in [
        // Renamed, gone with its file, without a body, in an inner module, not the only one.
        (&[call("a", "A::asks")][..], "there are 0"),
        (&[call("c", "c")], "there are 0"),
        (&[call("a", "A::tell")], "there are 0"),
        (&[call("a", "hidden")], "there are 0"),
        (&[call("b", "twice")], "there are 2"),
        // Another type's, or a function's.
        (&[call("a", "Ask::ask")], "there are 0"),
        (&[call("a", "b")], "there are 0"),
        // Named without a call, or only in a comment or a string.
        (&[call("a", "A::ask"), call("a", "A::c")], "A::ask does not call it"),
        (&[call("a", "A::ask"), system_call("e")], "A::ask does not call it"),
        (&[call("b", "b"), system_call("e")], "b does not call it"),
        (&[call("a", "A::ask"), system_call("read")], "A::ask does not call it"),
        // The caller must be the step before.
        (&[call("a", "A::b"), call("b", "b")], "A::b does not call it"),
        (&[call("a", "A::ask"), back_to("a", "A::b")], "nothing returns to it"),
        (&[call("a", "A::ask"), by("waker", "", "b", "b")], "nothing says"),
    ] {
        let found = faults(way, &small);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
}

fn the_third_entry_is_found() {
    let (a, b) = (call("a", "A::ask"), call("b", "b"));
    let exception = |entries| Exception { file: "a", entries, why: "it is a test" };
    // In a row they are one entry, a return is none, and the kernel is no file.
    assert_eq!(over_budget(&[a, a, a, b, a, a, back_to("b", "b"), back_to("a", "A::ask")], &[]), [""; 0]);
    assert_eq!(entries(&[a, system_call("read"), back_to("a", "A::ask"), b]), [("a", 1), ("b", 1)].into());
    assert_eq!(over_budget(&[a, b, a, b, a], &[]), ["a is entered 3 times"]);
    // What a caller calls after a return is an entry.
    let (back, waker) = (back_to("a", "A::ask"), by("waker", "it is a test", "b", "b"));
    assert_eq!(over_budget(&[a, b, back, b, back, waker], &[]), ["b is entered 3 times"]);
    // An exception holds the number, and is one only above the budget.
    assert_eq!(over_budget(&[a, b, a, b, a], &[exception(3)]), [""; 0]);
    assert_eq!(over_budget(&[a, b, a, b, a], &[exception(4)]).len(), 1);
    assert_eq!(over_budget(&[a, b, a, b], &[exception(2)]).len(), 1);
    assert_eq!(over_budget(&[b], &[exception(3)]).len(), 1);
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: [(&str, fn()); 4] = [
        ("a_byte_on_the_reactor", a_byte_on_the_reactor),
        ("a_byte_on_the_proactor", a_byte_on_the_proactor),
        ("a_wrong_step_is_found", a_wrong_step_is_found),
        ("the_third_entry_is_found", the_third_entry_is_found),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}

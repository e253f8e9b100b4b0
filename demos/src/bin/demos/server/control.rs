//! The hidden control channel of a server that `compare` has started: a line on stdin is a question,
//! a line of JSON on stdout the answer. The end of stdin stops the server, so that it never outlives
//! the process that started it.

use std::io;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use demos::mailbox::mailbox;
use demos::memory;
use executor::Runtime;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::output;

/// Starts to answer questions, in a task and a thread that reads stdin.
pub fn answer<R: Runtime>(rt: &R) -> anyhow::Result<()> {
    let (questions, mut asked) = mailbox::<String>(1);
    let read = move || {
        let lines = io::stdin().lines().map_while(Result::ok);
        for line in lines {
            if questions.post(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("control".to_owned()).spawn(read).context("cannot read stdin")?;
    let runtime = rt.clone();
    let answering = async move {
        while let Some(_question) = asked.receive().await {
            if output::print(&figures(runtime.stats().fields()).to_string()).is_err() {
                break;
            }
        }
        runtime.stop();
    };
    rt.spawn(answering).detach();
    Ok(())
}

/// All these counters, the processor time of this process in ns, and its memory in bytes.
pub fn figures(counters: Vec<(String, u64)>) -> Value {
    let counters: Map<_, _> = counters.into_iter().map(|(name, value)| (name, json!(value))).collect();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::try_from(cpu).unwrap_or_default().as_nanos();
    json!({
        "cpu_ns": u64::try_from(cpu).unwrap_or(u64::MAX),
        "waited_ns": waited_ns(),
        "rss": memory::resident(),
        "counters": counters,
    })
}

/// How long this process's main thread could have run, but had no processor, because others had it.
pub fn waited_ns() -> Option<u64> {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

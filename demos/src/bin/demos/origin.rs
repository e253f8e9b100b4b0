//! Where figures come from: the build, the machine, the moment and the command. All reports say so.

use std::time::SystemTime;

use rustix::system::uname;
use serde_json::{Value, json};

/// The version, and the commit it is made from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("DEMOS_COMMIT"), ")");

/// The kernel's name and release.
pub fn kernel() -> String {
    let kernel = uname();
    format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy())
}

/// As an object for a report.
pub fn json() -> Value {
    let (cores, processor) = processors();
    json!({
        "date": date(),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("DEMOS_COMMIT"),
        "debug_build": cfg!(debug_assertions),
        "kernel": kernel(),
        "processor": processor,
        "cores": cores,
        "command": command(),
    })
}

/// As a sentence for a page.
pub fn sentence() -> String {
    let (date, command, kernel, (cores, processor)) = (date(), command(), kernel(), processors());
    let processor = processor.as_deref().unwrap_or("an unknown processor");
    format!("Made on {date} by `{command}`, demos {VERSION}, on {kernel}, {processor}, {cores} cores.")
}

/// In UTC, as RFC 3339 writes it.
fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What was typed.
fn command() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    ["demos".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

/// How many cores the machine has, and the name of one, where the kernel tells it.
fn processors() -> (usize, Option<String>) {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let lines = || text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
    // `model name` on x86, `Model` on some boards with ARM.
    let name = lines().find(|(key, _)| ["model name", "Model"].contains(key)).map(|(_, name)| name.to_owned());
    (lines().filter(|(key, _)| *key == "processor").count(), name)
}

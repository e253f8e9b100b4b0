//! What the tests of the program share.

use std::path::PathBuf;
use std::{env, fs, process};

/// The path of a file or folder of this test process that does not exist yet.
pub fn path(name: &str) -> String {
    let path: PathBuf = env::temp_dir().join(format!("peers-test-{}-{name}", process::id()));
    path.to_str().unwrap().to_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The child processes of `parent` that still run, with their command lines.
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok());
    children.map(|child| (child, command_line(child))).collect()
}

/// Empty if there is no such process any more, or if it has ended and its parent has not asked for its exit code.
pub fn command_line(process: u32) -> String {
    text(&fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default())
}

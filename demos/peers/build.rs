//! Notes the compiler's version for the report: figures of another compiler are other figures.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo::rustc-env=BUILT_WITH={}", version.as_deref().map_or("an unknown compiler", str::trim));
    println!("cargo::rerun-if-changed=build.rs");
}

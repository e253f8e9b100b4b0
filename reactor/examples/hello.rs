//! A timer: the smallest program.
//!
//! cargo run -p reactor --example reactor-hello

use std::time::Duration;

use reactor::{Reactor as Rt, Runtime};

fn main() -> std::io::Result<()> {
    let rt = Rt::new()?;
    rt.block_on(async {
        println!("hello ...");
        rt.sleep(Duration::from_millis(300)).await;
        println!("... from {}", rt.engine());
    });
    Ok(())
}

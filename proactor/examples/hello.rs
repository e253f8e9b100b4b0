//! A timer: the smallest program.
//!
//! cargo run -p proactor --example proactor-hello

use std::time::Duration;

use proactor::{Proactor as Rt, Runtime};

fn main() -> std::io::Result<()> {
    let rt = Rt::new()?;
    rt.block_on(async {
        println!("hello ...");
        rt.sleep(Duration::from_millis(300)).await;
        println!("... from {}", rt.engine());
    });
    Ok(())
}

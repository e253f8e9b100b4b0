//! Goal: a program can do without the quarantine, and then has no more memory than it asked for.
//!
//! Method: blocks freed before and after it was given up. In a process of its own, for it stays so.

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

#[test]
fn what_is_freed_goes_to_the_system_from_then_on() {
    drop(vec![1u8; 1000]);
    assert!(oracles::keeps() && oracles::inspect().bytes >= 1000);
    oracles::keep_nothing();
    assert!(!oracles::keeps());
    assert_eq!((oracles::inspect().blocks, oracles::inspect().corrupted), (0, 0));
    let before = oracles::in_use();
    let block = vec![1u8; 100_000];
    assert!(oracles::in_use() >= before + 100_000, "it counts all the same");
    drop(block);
    assert_eq!(oracles::inspect().blocks, 0);
}

//! Killed at any moment, on a full disk, beside others: nothing that was told as kept is lost.
//!
//! 20 kills of each kind; `DIPTYCH_KILLS=200 cargo test --release -p diptych-tests --test durability` makes 200. Seeds are
//! printed; `DIPTYCH_SEED` repeats one (moments of a kill are never quite the same).
// Helpers of tests fail by panicking, as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "durability/child.rs"]
mod child;
#[path = "durability/draw.rs"]
mod draw;
#[path = "durability/ledger.rs"]
mod ledger;
#[path = "durability/limits.rs"]
mod limits;
#[path = "durability/studio.rs"]
mod studio;
#[path = "durability/trace.rs"]
mod trace;
#[path = "durability/writers.rs"]
mod writers;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How often to kill.
fn kills() -> u32 {
    let number = std::env::var("DIPTYCH_KILLS").ok();
    number.map_or(20, |text| text.parse().expect("DIPTYCH_KILLS is a number"))
}

/// A generator of this run's own, or of the one to be repeated.
fn generator(what: &str) -> StdRng {
    let given = std::env::var("DIPTYCH_SEED").ok();
    let seed = given.map_or_else(
        || rand::rng().random(),
        |text| text.parse().expect("DIPTYCH_SEED is a number"),
    );
    println!("{what}: DIPTYCH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

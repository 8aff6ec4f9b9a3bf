//! What makes a picture this one and no other: its seed, and the build that draws it.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

/// A seed that nobody chose.
pub fn new_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds its hash maps from the system's randomness. 32 bits: what other programs can take.
    std::hash::RandomState::new().build_hasher().finish() & u64::from(u32::MAX)
}

/// What the program was built for.
pub fn build() -> String {
    static BUILD: OnceLock<String> = OnceLock::new();
    let tell = || {
        // Two builds of one version may compute otherwise.
        let program = std::env::current_exe().and_then(std::fs::read);
        let hash = program.map_or_else(
            |_| "unknown".to_owned(),
            |bytes| {
                let digits = Sha256::digest(&bytes);
                digits.iter().map(|byte| format!("{byte:02x}")).collect()
            },
        );
        format!(
            "{} {} {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            std::env::consts::OS,
            hash.get(..12).unwrap_or(&hash)
        )
    };
    BUILD.get_or_init(tell).clone()
}

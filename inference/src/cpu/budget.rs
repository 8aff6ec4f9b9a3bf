//! How much memory the executor may use.

/// Where the system does not tell: what an ordinary machine can spare.
const CAREFUL: u64 = 4 << 30;

/// Four fifths of what the system says is available, or a careful default where it does not say.
pub(super) fn default_budget() -> u64 {
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_in(&text));
    available.map_or(CAREFUL, |bytes| bytes / 5 * 4)
}

/// Bytes of the line `MemAvailable:   12345 kB`.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The processor's name, such as `AMD EPYC 9B45 (2 threads)`.
pub(super) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim())
    });
    let threads = super::parallel::threads();
    let plural = if threads == 1 { "" } else { "s" };
    format!(
        "{} ({threads} thread{plural})",
        model.unwrap_or(std::env::consts::ARCH)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24689832 kB\nMemFree:  1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available_in(text), Some(23_000_000 * 1024));
        assert_eq!(available_in("MemAvailable: many kB"), None);
        assert_eq!(available_in(""), None);
        assert!(default_budget() > 1 << 20);
    }
}

//! Figures in a person's words: the one place that words times, sizes and counts for the window.

/// Seconds: `42 ms`, `1.3 s`, `25 s`, `2 min 5 s`, `2 h 1 min`.
#[must_use]
pub fn seconds(seconds: f32) -> String {
    let seconds = if seconds.is_finite() {
        seconds.max(0.0)
    } else {
        0.0
    };
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 59.5 => format!("{s:.0} s"),
        s => {
            let whole = s.round() as u64;
            match whole / 3600 {
                0 => format!("{} min {} s", whole / 60, whole % 60),
                hours => format!("{hours} h {} min", whole / 60 % 60),
            }
        }
    }
}

/// Bytes, in thousands as disks and cards are sold: `512 bytes`, `11.9 MB`, `120 MB`, `2.1 GB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    // From where on the figure would be rounded up to a thousand of the unit below.
    let (divisor, unit) = match bytes {
        b if b >= 999.5e6 => (1e9, "GB"),
        b if b >= 999.5e3 => (1e6, "MB"),
        b if b >= 1e3 => (1e3, "KB"),
        _ => (1.0, "bytes"),
    };
    let value = bytes / divisor;
    if value >= 99.95 || divisor == 1.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A count with its thousands apart: `8,192`.
#[must_use]
pub fn count(value: impl Into<u64>) -> String {
    let digits = value.into().to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How many: `No models`, `1 model`, `2 models`.
#[must_use]
pub fn plural(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("No {many}"),
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// "a, b and c".
pub fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_listed() {
        assert_eq!(and(&["a", "b", "c"]), "a, b and c");
        assert_eq!(and(&["a"]), "a");
        assert_eq!(and(&[]), "");
    }

    #[test]
    fn times_are_said_as_people_do() {
        let said = [
            (0.0, "0 ms"),
            (0.042, "42 ms"),
            (0.9996, "1.0 s"),
            (1.26, "1.3 s"),
            (9.97, "10 s"),
            (59.4, "59 s"),
            (59.6, "1 min 0 s"),
            (80.4, "1 min 20 s"),
            (125.0, "2 min 5 s"),
            (7260.0, "2 h 1 min"),
            (f32::NAN, "0 ms"),
            (-1.0, "0 ms"),
        ];
        for (time, words) in said {
            assert_eq!(seconds(time), words, "{time}");
        }
    }

    #[test]
    fn sizes_and_counts_are_said_as_people_do() {
        let said = [
            (0, "0 bytes"),
            (512, "512 bytes"),
            (1_500, "1.5 KB"),
            (999_600, "1.0 MB"),
            (11_900_000, "11.9 MB"),
            (120_400_000, "120 MB"),
            (2_100_000_000, "2.1 GB"),
        ];
        for (size, words) in said {
            assert_eq!(bytes(size), words);
        }
        assert_eq!(
            [7_u32, 999, 1_000, 1_234_567].map(count).join(" "),
            "7 999 1,000 1,234,567"
        );
        assert_eq!(plural(0, "model", "models"), "No models");
        assert_eq!(plural(1, "model", "models"), "1 model");
        assert_eq!(plural(12, "model", "models"), "12 models");
    }
}

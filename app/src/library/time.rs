//! Times as people and file names have them: UTC, but where the name says "here".

use super::records::Millis;

/// Year, month, day, hour, minute, second and millisecond.
fn civil(time: Millis) -> (i64, i64, i64, i64, i64, i64, i64) {
    let (days, within) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years begin in March, so that the
    // leap day is the last of the year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (within / 1000, within % 1000);
    (
        year,
        month,
        day,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        millis,
    )
}

/// `2026-11-22T07:31:50.123Z` (RFC 3339).
pub fn rfc3339(time: Millis) -> String {
    let (year, month, day, hour, minute, second, millis) = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `2026-11-22 07:31`, for tables.
pub fn minute(time: Millis) -> String {
    let (year, month, day, hour, minute, ..) = civil(time);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// By how much the clocks at the person's place are ahead of UTC at a time, in milliseconds.
fn ahead(time: Millis) -> Millis {
    use chrono::{Local, Offset as _, TimeZone as _};
    let seconds = |time: Millis| {
        let there = Local.timestamp_millis_opt(time).earliest()?;
        Some(Millis::from(there.offset().fix().local_minus_utc()))
    };
    seconds(time).unwrap_or(0) * 1000
}

/// When the day of a time began at the person's place.
pub fn midnight_here(time: Millis) -> Millis {
    midnight(time, ahead)
}

/// `ahead` tells how far local clocks are ahead at a time.
fn midnight(time: Millis, ahead: impl Fn(Millis) -> Millis) -> Millis {
    const DAY: Millis = 86_400_000;
    let local = time + ahead(time);
    let day = local.div_euclid(DAY) * DAY;
    // The clocks may have been changed since.
    let guess = day - ahead(time);
    day - ahead(guess)
}

/// `2026-11-22 07:31` at the person's place.
pub fn minute_here(time: Millis) -> String {
    minute(time + ahead(time))
}

/// `2026-11-22 07:31:50 UTC`, for what is sent to people elsewhere.
pub fn second(time: Millis) -> String {
    let (year, month, day, hour, minute, second, _) = civil(time);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `2026-11`, for folders.
pub fn month(time: Millis) -> String {
    let (year, month, ..) = civil(time);
    format!("{year:04}-{month:02}")
}

/// `2026-11-22-073150`, for names of files.
pub fn stamp(time: Millis) -> String {
    let (year, month, day, hour, minute, second, _) = civil(time);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_the_midnight_of_the_place() {
        const HOUR: Millis = 3_600_000;
        let day = 20_000 * 24 * HOUR;
        // West of Greenwich the day of UTC has begun already when it is still evening.
        assert_eq!(midnight(day + HOUR, |_| -5 * HOUR), day - 19 * HOUR);
        assert_eq!(midnight(day + HOUR, |_| 2 * HOUR), day - 2 * HOUR);
        assert_eq!(midnight(day + 23 * HOUR, |_| 2 * HOUR), day + 22 * HOUR);
        // At three in the morning, local time, the clocks went ahead by an hour.
        let change = day + HOUR;
        let ahead = |time| if time < change { 2 * HOUR } else { 3 * HOUR };
        assert_eq!(midnight(day + 9 * HOUR, ahead), day - 2 * HOUR);
        assert_eq!(midnight(0, |_| 0), 0);
        // Whatever zone this machine has, the day began within the last 25 hours.
        let begun = midnight_here(day + 5);
        assert!((day + 5 - begun) <= 25 * HOUR && begun <= day + 5);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // Made with `date -u -d @... --iso-8601=ns`.
        for (time, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_795_332_710_123, "2026-11-22T07:31:50.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(time), text);
        }
        let time = 1_795_332_710_123;
        assert_eq!(month(time), "2026-11");
        assert_eq!(minute(time), "2026-11-22 07:31");
        assert_eq!(second(time), "2026-11-22 07:31:50 UTC");
        assert_eq!(stamp(time), "2026-11-22-073150");
    }
}

//! Durations, times and numbers as text.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Formats a duration with useful precision: `850 ms`, `1.2 s`, `3 min 5 s`, `2 h`.
pub fn duration(length: SignedDuration) -> String {
    let length = length.max(SignedDuration::ZERO);
    let (seconds, millis) = (length.as_secs(), length.subsec_millis());
    let two = |large: i64, unit, small: i64, below| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {below}"),
    };
    match seconds {
        0 if millis == 0 && length.subsec_micros() > 0 => format!("{} us", length.subsec_micros()),
        0 => format!("{millis} ms"),
        1..10 if millis >= 100 => format!("{seconds}.{} s", millis / 100),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Formats the duration between two times.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    duration(to.duration_since(from))
}

/// Formats a time relative to `now`: `in 5 s` or `5 s ago`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", between(now, at)) } else { format!("{} ago", between(at, now)) }
}

/// Formats a time in UTC with milliseconds.
pub fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// Formats the time of day in UTC with milliseconds.
pub fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

/// Returns the end of an id, which is random. The beginning is a time, the same for many ids.
pub fn short_id(id: Uuid) -> String {
    let id = id.simple().to_string();
    id[id.len() - 8..].to_owned()
}

/// Formats a number of things: `1 task`, `2 tasks`.
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Formats a number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Truncates `text` to `length` characters, including an ellipsis.
pub fn truncate(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(3)).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_useful_precision() {
        let cases = [
            (-5, "0 ms"),
            (0, "0 ms"),
            (850, "850 ms"),
            (1_000, "1 s"),
            (1_250, "1.2 s"),
            (59_900, "59 s"),
            (185_000, "3 min 5 s"),
            (7_200_000, "2 h"),
            (90_000_000, "1 d 1 h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration(SignedDuration::from_millis(millis)), expected);
        }
        assert_eq!(duration(SignedDuration::from_micros(12)), "12 us");
    }

    #[test]
    fn grouped_separates_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn truncate_adds_an_ellipsis() {
        assert_eq!(truncate("abcdef", 6), "abcdef");
        assert_eq!(truncate("abcdefg", 6), "abc...");
    }
}

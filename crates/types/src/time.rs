//! Times of requests.

use jiff::civil::DateTime;
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::{SignedDuration, Timestamp};

const DAY_SECONDS: u32 = 24 * 60 * 60;

/// Parses an RFC 3339 time. Offsets of 24 hours or more and second 60 are rejected.
///
/// The last hours of the year 9999 are in range but not those of [`Timestamp`], and become its
/// maximum.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = match pieces.offset()? {
        PiecesOffset::Numeric(numeric) => numeric.offset().seconds(),
        // Zulu.
        _ => 0,
    };
    if offset.unsigned_abs() >= DAY_SECONDS || has_second_60(text) {
        return None;
    }
    let local: DateTime = pieces.date().to_datetime(pieces.time()?);
    let utc = local.checked_sub(SignedDuration::from_secs(offset.into())).ok()?;
    let is_last_year = utc.year() == DateTime::MAX.year();
    let at = jiff::tz::Offset::UTC.to_timestamp(utc).ok();
    at.or(is_last_year.then_some(Timestamp::MAX))
}

/// Whether the seconds are 60, which the parser turns into 59.
fn has_second_60(text: &str) -> bool {
    let Some((_, time)) = text.split_once(['T', 't', ' ']) else { return false };
    let digits = time.chars().filter(|c| *c != ':').take_while(char::is_ascii_digit);
    digits.skip(4).take(2).eq("60".chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
            ("2030-01-31t12:00:00.5z", "2030-01-31T12:00:00.5Z"),
            ("2030-01-31T12:00:00+23:59", "2030-01-30T12:01:00Z"),
            ("2030-01-31T00:00:00-23:59", "2030-01-31T23:59:00Z"),
            ("2030-01-31T12:00:00-00:00", "2030-01-31T12:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(parse_timestamp(text), Some(expected.parse().expect("a time")), "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59+23:59", "9999-12-31T00:00:00Z"] {
            assert_eq!(parse_timestamp(text), Some(Timestamp::MAX), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "tomorrow",
            "2030-01-01",
            "2031-01-01T00:00:00",
            "2031-01-01T00:00:00+24:00",
            "2031-01-01T00:00:00+25:00",
            "2031-01-01T00:00:00-24:00",
            "2031-01-01T24:00:00Z",
            "2031-01-01T23:59:60Z",
            "2031-01-01T23:60:00Z",
            "20310101T235960Z",
            "2031-02-29T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_rejected(text in "[0-9TtZz:+\\-. \\[\\]]{0,40}") {
            let _ = parse_timestamp(&text);
        }

        #[test]
        fn printed_times_are_read(second in -377_705_023_201_i64..253_402_207_200) {
            let at = Timestamp::from_second(second).expect("in range");
            if (0..=9999).contains(&jiff::tz::Offset::UTC.to_datetime(at).year()) {
                proptest::prop_assert_eq!(parse_timestamp(&at.to_string()), Some(at));
            }
        }
    }
}

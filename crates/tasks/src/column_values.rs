//! Column values shared by both databases.

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::MAX_SKEW;
use miniapp_types::task::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::engine::StoreError;

/// Converts a time to microseconds since 1970, its column value.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// Converts a duration to microseconds.
pub(crate) fn span_micros(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Returns a time later than `now` by more than the clocks of processes differ. A stored time
/// after it was written before the clock was set back.
pub(crate) fn later_than_skew(now: Timestamp) -> Timestamp {
    now.saturating_add(MAX_SKEW).unwrap_or(Timestamp::MAX)
}

/// Converts a column value to a time.
pub(crate) fn time(micros: i64) -> Result<Timestamp, StoreError> {
    // `Timestamp::from_microsecond` lacks the last second of the range.
    let (second, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let nanos = i32::try_from(micros * 1000).unwrap_or_default();
    Timestamp::new(second, nanos).map_err(|error| StoreError::Internal(error.to_string()))
}

/// Converts a counter to its column value. Counters stay far below the limit.
pub(crate) fn signed(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(crate) fn unsigned(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}

/// Converts a status to its column value.
pub(crate) fn status_code(status: Status) -> i16 {
    match status {
        Status::Awaiting => 0,
        Status::Executing => 1,
        Status::Finished => 2,
        Status::Canceled => 3,
        Status::Failed => 4,
    }
}

/// Converts a column value to a status.
pub(crate) fn status(code: i16) -> Result<Status, StoreError> {
    Ok(match code {
        0 => Status::Awaiting,
        1 => Status::Executing,
        2 => Status::Finished,
        3 => Status::Canceled,
        4 => Status::Failed,
        other => return Err(StoreError::Internal(format!("{other} is not a status"))),
    })
}

/// Converts a column value to JSON.
pub(crate) fn raw(json: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(json).map_err(|error| StoreError::Internal(error.to_string()))
}

/// Converts a value to its column of JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(error.to_string()))
}

/// The inverse of [`to_json`].
pub(crate) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_stored() {
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let stored = time(micros(at)).expect("a time");
            assert_eq!(micros(stored), micros(at));
        }
        assert_eq!(time(-1).map(micros).ok(), Some(-1));
    }
}

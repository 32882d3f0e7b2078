//! Limits the entries of requests that are repeated.
//!
//! An entry is kept for a year, and a client can cause thousands per second. So the first ones of
//! an interval are recorded one by one, and then one entry stands for many.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::audit::AuditEntry;

const INTERVAL: Duration = Duration::from_hours(1);
/// How many entries of an interval stand for one request each.
const SINGLE: u64 = 10;
/// How many series of requests are counted. Others are recorded one by one; their clients are
/// limited by address.
const MAX_SERIES: usize = 10_000;

/// Requests that differ only in time and, if they were refused, in their target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Series {
    actor: Option<Uuid>,
    /// Without an actor: the client and the account that it names.
    origin: Option<(Option<String>, Option<Uuid>)>,
    action: String,
    outcome: String,
}

#[derive(Debug)]
struct Counted {
    since: Timestamp,
    total: u64,
    /// Since the latest recorded entry.
    unrecorded: u64,
    latest: AuditEntry,
}

/// Counts the requests of a process.
#[derive(Debug, Default)]
pub(crate) struct AuditLimit(Mutex<HashMap<Series, Counted>>);

impl AuditLimit {
    /// Counts a request, and returns the entry to record, if there is one.
    pub fn admit(&self, entry: AuditEntry) -> Option<AuditEntry> {
        let series = Series {
            actor: entry.actor,
            origin: entry.actor.is_none().then(|| (entry.ip.clone(), entry.account)),
            action: entry.action.clone(),
            outcome: entry.outcome.clone(),
        };
        let mut counted = self.0.lock();
        if counted.len() >= MAX_SERIES && !counted.contains_key(&series) {
            return Some(entry);
        }
        let of_series = counted.entry(series).or_insert_with(|| Counted {
            since: entry.at,
            total: 0,
            unrecorded: 0,
            latest: entry.clone(),
        });
        if of_series.has_ended(entry.at) {
            (of_series.since, of_series.total) = (entry.at, 0);
        }
        of_series.total += 1;
        of_series.unrecorded += 1;
        of_series.latest = entry;
        let is_recorded = of_series.total <= SINGLE || is_power_of_ten(of_series.total);
        is_recorded.then(|| of_series.take())
    }

    /// Returns entries for the requests of intervals that have ended, or of all with `None`.
    pub fn flush(&self, now: Option<Timestamp>) -> Vec<AuditEntry> {
        let has_ended =
            |_: &Series, counted: &mut Counted| now.is_none_or(|now| counted.has_ended(now));
        let mut counted = self.0.lock();
        let ended = counted.extract_if(has_ended).map(|(_, counted)| counted);
        ended.filter(|counted| counted.unrecorded > 0).map(|mut counted| counted.take()).collect()
    }
}

impl Counted {
    fn has_ended(&self, now: Timestamp) -> bool {
        now.duration_since(self.since).abs()
            >= SignedDuration::try_from(INTERVAL).unwrap_or(SignedDuration::MAX)
    }

    /// Returns the latest entry, for all requests that were not recorded.
    fn take(&mut self) -> AuditEntry {
        let count = std::mem::take(&mut self.unrecorded);
        AuditEntry { count, ..self.latest.clone() }
    }
}

fn is_power_of_ten(number: u64) -> bool {
    number.checked_ilog10().is_some_and(|digits| number == 10_u64.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Caller};

    fn entry(actor: Option<u128>, seconds: u64) -> AuditEntry {
        let at = Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut entry = AuditEntry::new(Action::ListAccounts, at, &Caller::default());
        entry.actor = actor.map(Uuid::from_u128);
        entry
    }

    #[test]
    fn entries_of_a_series_become_rare_and_count_every_request() {
        let limit = AuditLimit::default();
        let counts = |seconds| {
            let entries = (0..1234).filter_map(|_| limit.admit(entry(Some(1), seconds)));
            entries.map(|entry| entry.count).collect::<Vec<_>>()
        };
        let first = counts(0);
        assert_eq!(first, [&[1; 10][..], &[90, 900]].concat());
        // What was not recorded is part of the next interval's first entry.
        let second = counts(3600);
        assert_eq!(second, [&[235][..], &[1; 9], &[90, 900]].concat());
        assert!(limit.flush(Some(entry(None, 3700).at)).is_empty());
        let rest = limit.flush(Some(entry(None, 7200).at));
        assert_eq!(rest.iter().map(|entry| entry.count).collect::<Vec<_>>(), [234]);
        assert!(limit.flush(None).is_empty());
    }

    #[test]
    fn series_differ_by_actor_outcome_client_and_account() {
        let limit = AuditLimit::default();
        for _ in 0..SINGLE {
            limit.admit(entry(Some(1), 0)).expect("recorded");
        }
        // The target of an actor's request is chosen freely.
        let other_target = AuditEntry { account: Some(Uuid::from_u128(9)), ..entry(Some(1), 0) };
        assert_eq!(limit.admit(other_target), None);
        let others = [
            entry(Some(2), 0),
            AuditEntry { outcome: "forbidden".to_owned(), ..entry(Some(1), 0) },
            entry(None, 0),
            AuditEntry { ip: Some("127.0.0.1".to_owned()), ..entry(None, 0) },
            AuditEntry { account: Some(Uuid::from_u128(9)), ..entry(None, 0) },
        ];
        for other in others {
            assert_eq!(limit.admit(other.clone()), Some(other));
        }
    }
}

//! A map that forgets.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A map of bounded size. Whatever was put in is kept until as many others followed as fit
/// into a generation, and for at most two; forgetting costs nothing on the way.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    size: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Keeps at least the last `size` entries.
    pub fn new(size: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), size }
    }

    /// What is kept for `key`, and whether it will be forgotten soon.
    pub fn get<Q>(&self, key: &Q) -> Option<(&V, bool)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match self.young.get(key) {
            Some(value) => Some((value, false)),
            None => self.old.get(key).map(|value| (value, true)),
        }
    }

    /// Keeps `value` as the newest.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.size && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_no_more_than_two_generations() {
        let mut map = Generations::new(10);
        for number in 0..1000 {
            map.insert(number, number);
            for kept in (number - 9).max(0)..=number {
                assert_eq!(map.get(&kept).map(|(value, _)| *value), Some(kept));
            }
            assert!(map.young.len() + map.old.len() <= 20);
        }
        assert!(map.get(&0).is_none());
    }

    #[test]
    fn what_is_put_in_again_stays() {
        let mut map = Generations::new(2);
        map.insert("a", 1);
        for other in ["b", "c", "d", "e", "f"] {
            map.insert(other, 0);
            if let Some((&value, true)) = map.get("a") {
                map.insert("a", value + 1);
            }
            assert!(map.get("a").is_some());
        }
    }
}

//! A cache bounded in bytes: what was used least lately goes first.

use std::collections::{BTreeMap, HashMap};

/// Values by key, as many as fit.
pub struct Cache<V> {
    room: usize,
    held: usize,
    clock: u64,
    slots: HashMap<String, Slot<V>>,
    /// Key by the time of its last use.
    order: BTreeMap<u64, String>,
}

struct Slot<V> {
    value: V,
    size: usize,
    used: u64,
}

impl<V> Cache<V> {
    /// An empty cache for `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { room, held: 0, clock: 0, slots: HashMap::new(), order: BTreeMap::new() }
    }

    /// The value, which counts as used now.
    pub fn get(&mut self, key: &str) -> Option<&mut V> {
        let slot = self.slots.get_mut(key)?;
        if let Some(key) = self.order.remove(&slot.used) {
            self.clock += 1;
            slot.used = self.clock;
            self.order.insert(self.clock, key);
        }
        Some(&mut slot.value)
    }

    /// Keeps a value of `size` bytes, at the cost of others. One that has no room at all is not kept.
    pub fn put(&mut self, key: String, value: V, size: usize) {
        self.remove(&key);
        if size > self.room {
            return;
        }
        while self.held + size > self.room {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.held += size;
        self.order.insert(self.clock, key.clone());
        self.slots.insert(key, Slot { value, size, used: self.clock });
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            self.held -= slot.size;
            self.order.remove(&slot.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cache: &Cache<u32>) -> Vec<&str> {
        cache.order.values().map(String::as_str).collect()
    }

    #[test]
    fn what_was_used_least_lately_goes_first() {
        let mut cache = Cache::new(30);
        for (value, key) in ["a", "b", "c"].into_iter().enumerate() {
            cache.put(key.into(), value as u32, 10);
        }
        assert_eq!(cache.get("a"), Some(&mut 0));
        cache.put("d".into(), 3, 10);
        assert_eq!(keys(&cache), ["c", "a", "d"]);
        assert_eq!(cache.get("b"), None);
    }

    #[test]
    fn it_never_holds_more_than_its_room() {
        let mut cache = Cache::new(100);
        for n in 0..1000 {
            cache.put(format!("{}", n % 37), n, n as usize % 60);
            assert!(cache.held <= 100);
            assert_eq!(cache.held, cache.slots.values().map(|slot| slot.size).sum::<usize>());
            assert_eq!(cache.order.len(), cache.slots.len());
        }
    }

    #[test]
    fn a_value_larger_than_the_cache_drives_nothing_out() {
        let mut cache = Cache::new(30);
        cache.put("small".into(), 1, 20);
        cache.put("large".into(), 2, 31);
        assert_eq!(keys(&cache), ["small"]);
    }

    #[test]
    fn a_key_that_is_put_again_has_its_new_size_alone() {
        let mut cache = Cache::new(30);
        cache.put("a".into(), 1, 30);
        cache.put("a".into(), 2, 5);
        cache.put("b".into(), 3, 25);
        assert_eq!(keys(&cache), ["a", "b"]);
        assert_eq!(cache.get("a"), Some(&mut 2));
    }
}

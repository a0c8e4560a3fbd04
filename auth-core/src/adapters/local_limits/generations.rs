use std::{collections::HashMap, hash::Hash, mem};

use time::{Duration, OffsetDateTime};

/// A map that forgets: an entry stays for `life` after it was last touched, unless so many others are touched meanwhile that there is no room.
///
/// Two generations, each of at most `room` entries. A touch moves an entry into the young one; when that is full, or as old as `life`, it becomes the old
/// one, whose entries are forgotten. So nothing is ever searched for what to forget, and the memory is what two full tables take.
pub(super) struct Generations<K, V> {
    room: usize,
    life: Duration,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    since: OffsetDateTime,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    pub(super) fn new(room: usize, life: Duration) -> Self {
        Self {
            room,
            life,
            young: HashMap::new(),
            old: HashMap::new(),
            since: OffsetDateTime::UNIX_EPOCH,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// The entry, which is touched by that, or a new one.
    pub(super) fn touch(&mut self, key: K, now: OffsetDateTime) -> &mut V
    where
        V: Default,
    {
        // A clock that was set back far counts as time, too; calls that overtake each other do not.
        let is_due = (now - self.since).abs() >= self.life;
        let is_full = self.young.len() >= self.room && !self.young.contains_key(&key);
        if is_due || is_full {
            mem::swap(&mut self.young, &mut self.old);
            // Its table stays, for the next entries.
            self.young.clear();
            self.since = now;
        }
        let kept = self.old.remove(&key);
        let entry = self.young.entry(key);
        match kept {
            Some(value) => entry.or_insert(value),
            None => entry.or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::Generations;

    #[test]
    fn an_entry_lives_on_after_its_last_touch_and_not_for_ever() {
        let start = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let mut map: Generations<u32, u32> = Generations::new(10, Duration::MINUTE);
        *map.touch(1, start) = 7;
        map.touch(2, start + Duration::seconds(59));
        assert_eq!(*map.touch(1, start + Duration::seconds(60)), 7);
        assert_eq!(*map.touch(1, start + Duration::seconds(119)), 7);
        map.touch(3, start + Duration::seconds(125));
        assert!(map.get(&2).is_none());
        assert_eq!(map.get(&1), Some(&7));
        map.touch(3, start + Duration::seconds(200));
        assert!(map.get(&1).is_none());
    }

    #[test]
    fn there_is_room_for_the_newest_only() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let mut map: Generations<u32, u32> = Generations::new(10, Duration::MINUTE);
        for key in 0..1000 {
            *map.touch(key, now) = key;
            assert!(map.young.len() + map.old.len() <= 20);
        }
        assert!((990..1000).all(|key| map.get(&key) == Some(&key)));
    }
}

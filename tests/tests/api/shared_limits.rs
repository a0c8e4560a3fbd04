//! Limits that processes share are the limits that one has.

use std::num::NonZeroU32;

use auth_core::{
    adapters::{LocalLimits, RedisLimits},
    ports::{Attempt, AttemptLimiter, Quota, RateLimiter},
    time::{Duration, OffsetDateTime},
    types::{Digest, Network, Secret},
};
use auth_tests::redis::Redis;
use futures_util::future::join_all;

async fn shared(redis: &Redis) -> RedisLimits {
    let limits = RedisLimits::open(&Secret::new(redis.url())).unwrap();
    limits.connect().await;
    limits
}

/// Numbers that look drawn and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Two processes with one server say of three thousand attempts and requests what a process by itself says.
#[tokio::test(flavor = "multi_thread")]
async fn limits_in_redis_are_those_of_one_process() {
    let redis = Redis::start();
    let processes = [shared(&redis).await, shared(&redis).await];
    let alone = LocalLimits::new();
    // One comes back after twenty seconds: no key expires while this runs.
    let quota = Quota::per_minute(NonZeroU32::new(3).unwrap());
    let mut now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let mut dice = Dice(7);
    let (mut waits, mut refusals) = (0, 0);
    for step in 0..3000 {
        let process = &processes[step % 2];
        let network = Network::V4([192, 0, u8::try_from(dice.below(12)).unwrap(), 0]);
        let attempt = Attempt {
            account: Digest::of([u8::try_from(dice.below(2)).unwrap()]),
            network,
            now,
        };
        match dice.below(100) {
            0..20 => {
                let told = process.wait(&attempt).await;
                assert_eq!(told, alone.wait(&attempt).await, "{step}");
                waits += u32::from(told.is_some());
            }
            20..80 => {
                let is_right = dice.below(150) == 0;
                let told = process.settle(&attempt, is_right).await;
                assert_eq!(told, alone.settle(&attempt, is_right).await, "{step}");
                waits += u32::from(told.is_some());
            }
            80 if dice.below(10) == 0 => {
                process.forget(&attempt).await;
                alone.forget(&attempt).await;
            }
            80..97 => {
                let told = process.take("auth", network, quota, now).await;
                assert_eq!(told, alone.take("auth", network, quota, now).await);
                refusals += u32::from(!told.is_admitted);
            }
            _ => {
                let seconds = [1, 7, 60, 400][usize::try_from(dice.below(4)).unwrap()];
                now += Duration::seconds(seconds);
            }
        }
    }
    assert!(
        waits > 500 && refusals > 50,
        "{waits} waits, {refusals} refusals"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_no_more_pass_than_of_as_many_one_by_one() {
    let redis = Redis::start();
    let processes = [shared(&redis).await, shared(&redis).await];
    let quota = Quota::per_minute(NonZeroU32::new(100).unwrap());
    let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let client = Network::V4([192, 0, 2, 1]);
    let requests = (0..300).map(|number| {
        let process = processes[number % 2].clone();
        async move { process.take("auth", client, quota, now).await.is_admitted }
    });
    let admitted = join_all(requests).await.into_iter().filter(|it| *it);
    assert_eq!(admitted.count(), 100);
    let attempt = Attempt {
        account: Digest::of("ada"),
        network: client,
        now,
    };
    let guesses = (0..60).map(|number| {
        let process = processes[number % 2].clone();
        async move { process.settle(&attempt, false).await }
    });
    let told = join_all(guesses).await.into_iter().filter(Option::is_none);
    assert_eq!(told.count(), 10);
}

#[test]
fn an_address_is_read_or_refused() {
    for url in [
        "redis://127.0.0.1",
        "rediss://:secret@redis.test.org:6380/3",
        "redis+unix:///run/redis.sock",
    ] {
        assert!(
            RedisLimits::open(&Secret::new(url.to_owned())).is_ok(),
            "{url}"
        );
    }
    for url in [
        "",
        "127.0.0.1",
        "http://127.0.0.1",
        "redis://",
        "redis://h/x",
    ] {
        assert!(
            RedisLimits::open(&Secret::new(url.to_owned())).is_err(),
            "{url}"
        );
    }
}

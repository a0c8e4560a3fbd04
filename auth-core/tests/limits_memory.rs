//! How much memory limits take: a test binary of its own, because it looks at the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use std::{fs, num::NonZeroU32};

use auth_core::{
    adapters::LocalLimits,
    ports::{Attempt, AttemptLimiter, Quota, RateLimiter},
    time::OffsetDateTime,
    types::{Digest, Network},
};

const MEBIBYTE: usize = 1024 * 1024;

/// Resident memory, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_million_addresses_and_names_take_no_more_than_was_said() {
    let limits = LocalLimits::new();
    let quota = Quota::per_minute(NonZeroU32::new(100).unwrap());
    let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let before = resident();
    for number in 0..1_000_000_u32 {
        let client = Network::V6(u64::from(number).to_be_bytes());
        assert!(limits.take("auth", client, quota, now).await.is_admitted);
    }
    for number in 0..1_000_000_u32 {
        let attempt = Attempt {
            account: Digest::from_bytes([number.to_be_bytes(); 8].concat().try_into().unwrap()),
            network: Network::V4(number.to_be_bytes()),
            now,
        };
        assert!(limits.settle(&attempt, false).await.is_none());
        let elsewhere = Attempt {
            network: Network::Unknown,
            ..attempt
        };
        assert!(limits.settle(&elsewhere, true).await.is_none());
    }
    let taken = resident().saturating_sub(before);
    assert!(taken < 64 * MEBIBYTE, "{} MiB", taken / MEBIBYTE);

    // The newest are counted still.
    let newest = Network::V6(999_999_u64.to_be_bytes());
    let standing = limits.take("auth", newest, quota, now).await;
    assert_eq!(standing.remaining, 98);
}

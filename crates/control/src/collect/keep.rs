//! From a vendor's buckets to what is written.

use crate::figures::{
    EDGE_1XX, EDGE_2XX, EDGE_3XX, EDGE_4XX, EDGE_5XX, EDGE_BYTES, EDGE_HITS, EDGE_MISSES, EDGE_ORIGIN_BYTES,
    EDGE_ORIGIN_REQUESTS, EDGE_REQUESTS, EDGE_SAMPLING, Figure,
};
use crate::store::{Batch, Key};
use headwater_vendors::edge::{Bucket, Window};
use std::collections::HashSet;

const CLASSES: [&Figure; 5] = [EDGE_1XX, EDGE_2XX, EDGE_3XX, EDGE_4XX, EDGE_5XX];

/// Writes all that a bucket tells. What it does not tell has no point.
pub(super) fn bucket(batch: &mut Batch, cdn: &str, grain: i64, bucket: &Bucket) {
    let mut set = |figure: &'static Figure, value: Option<f64>| {
        if let Some(value) = value {
            batch.set(Key::new(figure, cdn, &bucket.property).every(grain as u32), bucket.start, value);
        }
    };
    let count = |count: Option<u64>| count.map(|count| count as f64);
    set(EDGE_REQUESTS, count(Some(bucket.requests)));
    set(EDGE_HITS, count(bucket.hits));
    set(EDGE_MISSES, count(bucket.misses));
    set(EDGE_BYTES, count(bucket.bytes));
    for (figure, class) in CLASSES.into_iter().zip(bucket.classes) {
        set(figure, count(class));
    }
    set(EDGE_ORIGIN_REQUESTS, count(bucket.origin_requests));
    set(EDGE_ORIGIN_BYTES, count(bucket.origin_bytes));
    set(EDGE_SAMPLING, bucket.sampling);
}

/// What a vendor that has no row where nothing happened did not mention in a settled stretch is 0.
pub(super) fn quiet(
    batch: &mut Batch,
    cdn: &str,
    grain: i64,
    (properties, settled): (&[String], Window),
    told: &[Bucket],
) {
    let told: HashSet<(&str, i64)> = told.iter().map(|bucket| (bucket.property.as_str(), bucket.start)).collect();
    for property in properties {
        for start in (settled.from..settled.until).step_by(grain.max(1) as usize) {
            if !told.contains(&(property.as_str(), start)) {
                let (hits, misses, bytes) = (Some(0), Some(0), Some(0));
                let property = property.clone();
                bucket(batch, cdn, grain, &Bucket { property, start, hits, misses, bytes, ..Bucket::default() });
            }
        }
    }
}

//! A distribution in few bytes that can be merged with others without loss: DDSketch (Masson, Rim and Lee, VLDB 2019) with a
//! relative error of one hundredth. What is stored is stable: this module's encoding.

/// Neighbouring buckets differ by this factor, so that any value is within 1 % of its bucket's middle.
const GAMMA: f64 = 1.01 / 0.99;
/// Values are kept within these bounds, which for seconds are a microsecond and a day: at most 1,260 buckets.
const RANGE: std::ops::RangeInclusive<f64> = 1e-6..=86_400.0;

/// A distribution of positive values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Bucket, and how many values; in order. Reading a year is mostly decoding and merging, and a list does these in one pass.
    buckets: Vec<(i16, u64)>,
    count: u64,
}

impl Sketch {
    /// Adds a value `times` times. What is no number is not added; what is beyond a microsecond and a day counts as these.
    pub fn add(&mut self, value: f64, times: u64) {
        if value.is_nan() || times == 0 {
            return;
        }
        let value = value.clamp(*RANGE.start(), *RANGE.end());
        let bucket = (value.ln() / GAMMA.ln()).ceil() as i16;
        match self.buckets.binary_search_by_key(&bucket, |(held, _)| *held) {
            Ok(at) => self.buckets[at].1 += times,
            Err(at) => self.buckets.insert(at, (bucket, times)),
        }
        self.count += times;
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All values together, within 1 %.
    pub fn sum(&self) -> f64 {
        let middle = |bucket: i16| 2.0 * GAMMA.powi(i32::from(bucket)) / (GAMMA + 1.0);
        self.buckets.iter().map(|(bucket, times)| middle(*bucket) * *times as f64).sum()
    }

    /// The values of all of these together. Of many at once it is faster than one after another.
    pub fn union<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let bounds = all.clone().filter_map(|one| Some((one.buckets.first()?.0, one.buckets.last()?.0)));
        let Some((first, last)) = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else { return Self::default() };
        let mut times = vec![0; usize::from(last.abs_diff(first)) + 1];
        let mut count = 0;
        for one in all {
            one.buckets.iter().for_each(|(bucket, more)| times[usize::from(bucket.abs_diff(first))] += more);
            count += one.count;
        }
        let buckets = (first..=last).zip(times).filter(|(_, times)| *times > 0).collect();
        Self { buckets, count }
    }

    /// Adds another distribution's values.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.clone_from(other);
            return;
        }
        let mut held = std::mem::take(&mut self.buckets).into_iter().peekable();
        let mut merged = Vec::with_capacity(held.len().max(other.buckets.len()) + 8);
        for &(bucket, times) in &other.buckets {
            while let Some(before) = held.next_if(|(held, _)| *held < bucket) {
                merged.push(before);
            }
            let same = held.next_if(|(held, _)| *held == bucket).map_or(0, |(_, times)| times);
            merged.push((bucket, times + same));
        }
        merged.extend(held);
        self.buckets = merged;
        self.count += other.count;
    }

    /// The value that a share `q` of all values is not above, within 1 %. `None` where there is no value.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * self.count.checked_sub(1)? as f64) as u64;
        let mut seen = 0;
        let (bucket, _) = self.buckets.iter().find(|(_, times)| {
            seen += *times;
            seen > rank
        })?;
        Some(2.0 * GAMMA.powi(i32::from(*bucket)) / (GAMMA + 1.0))
    }

    /// How many values are not above `limit`, to the grain of a bucket.
    pub fn count_to(&self, limit: f64) -> u64 {
        let last = (limit.max(*RANGE.start()).ln() / GAMMA.ln()).ceil() as i16;
        self.buckets.iter().take_while(|(bucket, _)| *bucket <= last).map(|(_, times)| times).sum()
    }

    /// As it is stored: for each bucket the distance to the one before and the count, as LEB128.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.buckets.len() * 3);
        let mut last = i16::MIN;
        for (bucket, times) in &self.buckets {
            write(&mut bytes, u64::from(bucket.wrapping_sub(last) as u16));
            write(&mut bytes, *times);
            last = *bucket;
        }
        bytes
    }

    /// What was stored; `None` where it is no sketch.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut sketch = Self { buckets: Vec::with_capacity(bytes.len() / 2), count: 0 };
        let mut last = i16::MIN;
        while !bytes.is_empty() {
            let distance = u16::try_from(read(&mut bytes)?).ok()?;
            let times = read(&mut bytes)?;
            let bucket = last.wrapping_add(distance as i16);
            // Written in order, each once.
            (sketch.buckets.is_empty() || bucket > last).then_some(())?;
            sketch.count = sketch.count.checked_add(times)?;
            sketch.buckets.push((bucket, times));
            last = bucket;
        }
        Some(sketch)
    }
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.into_iter().for_each(|value| sketch.add(value, 1));
        sketch
    }

    #[test]
    fn a_quantile_is_within_one_hundredth() {
        let sketch = of((1..=10_000).map(|n| f64::from(n) / 1000.0));
        for (q, exact) in [(0.0, 0.001), (0.5, 5.0), (0.95, 9.5), (0.99, 9.9), (1.0, 10.0)] {
            let found = sketch.quantile(q).unwrap();
            assert!((found / exact - 1.0_f64).abs() < 0.0101, "{q}: {found} and not {exact}");
        }
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    #[test]
    fn merging_loses_nothing() {
        let (low, high) = (of((1..500).map(f64::from)), of((500..=1000).map(f64::from)));
        let mut both = low.clone();
        both.merge(&high);
        assert_eq!(both, of((1..=1000).map(f64::from)));
        assert_eq!(Sketch::union([&high, &Sketch::default(), &low].into_iter()), both);
        assert_eq!(Sketch::union(std::iter::empty()), Sketch::default());
    }

    #[test]
    fn what_is_stored_comes_back() {
        for sketch in [Sketch::default(), of([1e-9, 0.02, 0.02, 3.5, 1e9, f64::INFINITY])] {
            assert_eq!(Sketch::decode(&sketch.encode()), Some(sketch));
        }
        assert_eq!(Sketch::decode(&[0x80]), None);
        assert_eq!(Sketch::decode(&[1]), None);
    }

    #[test]
    fn it_stays_small() {
        let sketch = of((0..100_000).map(|n| 1e-7 * 1.0005_f64.powi(n)));
        assert!(sketch.buckets.len() < 1300, "{}", sketch.buckets.len());
        assert_eq!(sketch.count(), 100_000);
    }
}

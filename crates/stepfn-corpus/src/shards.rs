//! Which record is in which shard: record k is in shard ⌊k / rows⌋.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::{CorpusError, Format, Result};

/// How records are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    /// Records in a shard; the last may have fewer.
    pub rows: usize,
    /// All records, if their number is known.
    pub records: Option<usize>,
}

impl Shards {
    /// This many shards of a known number of records, as equal as can be but for the last. There may be fewer: 5 records make 3 shards of 2,
    /// also if 4 were asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) if the number is 0.
    pub fn of(number: usize, records: usize) -> Result<Self> {
        if number == 0 {
            return Err(CorpusError::option("0 shards have no results", "ask for 1 or more"));
        }
        Ok(Self { rows: records.div_ceil(number).max(1), records: Some(records) })
    }

    /// Shards of this many records.
    ///
    /// # Errors
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) if the number is 0.
    pub fn of_rows(rows: usize, records: Option<usize>) -> Result<Self> {
        if rows == 0 {
            return Err(CorpusError::option("shards of 0 records have no results", "ask for 1 or more"));
        }
        Ok(Self { rows, records })
    }

    /// The number of shards, if it is known. No records are one empty shard.
    pub fn count(&self) -> Option<usize> {
        self.records.map(|records| records.div_ceil(self.rows).max(1))
    }

    /// The records of a shard; the end of the last is unknown if their number is.
    pub fn records_of(&self, shard: usize) -> Range<usize> {
        let [start, end] = [shard, shard.saturating_add(1)].map(|shard| shard.saturating_mul(self.rows));
        let last = self.records.unwrap_or(usize::MAX);
        start.min(last)..end.min(last)
    }

    /// The file of a shard: `scores-00003-of-00014.parquet`, or without the second number if it is unknown.
    pub fn file(&self, name: &str, shard: usize, format: Format) -> String {
        let of = self.count().map_or_else(String::new, |count| format!("-of-{count:05}"));
        format!("{name}-{shard:05}{of}.{}", format.name())
    }
}

/// One of several programs that work on the same shards: it does those whose number leaves the rest `index` when divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Default for Job {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Job {
    /// Whether it does this shard.
    pub fn does(&self, shard: usize) -> bool {
        shard % self.of == self.index
    }
}

impl FromStr for Job {
    type Err = String;

    fn from_str(text: &str) -> core::result::Result<Self, String> {
        let job = text
            .split_once('/')
            .and_then(|(index, of)| Some(Self { index: index.trim().parse().ok()?, of: of.trim().parse().ok()? }));
        job.filter(|job| job.index < job.of)
            .ok_or_else(|| "expected I/N with I from 0 to N - 1, such as 0/14".to_owned())
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_record_is_in_one_shard_and_every_shard_is_done_by_one_job(
            number in 1..50_usize, records in 0..2000_usize, jobs in 1..20_usize,
        ) {
            let shards = Shards::of(number, records).unwrap();
            let count = shards.count().unwrap();
            prop_assert!(count <= number);
            let all: Vec<usize> = (0..count).flat_map(|shard| shards.records_of(shard)).collect();
            prop_assert_eq!(all, (0..records).collect::<Vec<_>>());
            prop_assert!((0..records).all(|k| shards.records_of(k / shards.rows).contains(&k)));
            let unknown = Shards::of_rows(shards.rows, None).unwrap();
            prop_assert!((0..records).all(|k| unknown.records_of(k / shards.rows).contains(&k)));
            for shard in 0..count {
                let done = (0..jobs).filter(|&index| Job { index, of: jobs }.does(shard)).count();
                prop_assert_eq!(done, 1);
            }
        }
    }

    #[test]
    fn files_and_jobs_have_names() {
        let shards = Shards::of(14, 1000).unwrap();
        assert_eq!(shards.file("scores", 3, Format::Parquet), "scores-00003-of-00014.parquet");
        let unknown = Shards::of_rows(10, None).unwrap();
        assert_eq!(unknown.file("x", 123_456, Format::JsonLines), "x-123456.jsonl");
        assert_eq!(Shards::of(4, 0).unwrap().count(), Some(1));
        assert_eq!("3/14".parse(), Ok(Job { index: 3, of: 14 }));
        assert!(["14/14", "1", "a/2", "0/0", "-1/2"].iter().all(|text| text.parse::<Job>().is_err()));
        assert!(Shards::of(0, 1).is_err() && Shards::of_rows(0, None).is_err());
    }
}

//! Compares reports of several machines, or of several versions on one machine.

use serde::Serialize;

use crate::report::{Case, Machine, Outcome, Peak, Report};

/// Several reports side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The reports that are compared.
    pub reports: Vec<Compared>,
    /// Everything that any of them measured, in the order of the first report that has it.
    pub rows: Vec<ComparedRow>,
}

/// One of the reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The name of its file.
    pub name: String,
    /// Where it ran.
    pub machine: Machine,
    /// The machine's peak.
    pub peak: Peak,
}

/// The same work in each report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRow {
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// Median seconds of each report; `None` if it has none.
    pub seconds: Vec<Option<f64>>,
    /// Speed relative to the first report; `None` if either has no time.
    pub times_as_fast: Vec<Option<f64>>,
}

/// Compares reports, each with the name of its file.
pub fn compare(reports: Vec<(String, Report)>) -> Comparison {
    let mut rows: Vec<ComparedRow> = Vec::new();
    for (number, (_, report)) in reports.iter().enumerate() {
        for row in &report.rows {
            let found = rows.iter().position(|known| known.case == row.case);
            let index = found.unwrap_or(rows.len());
            if found.is_none() {
                let (case, seconds) = (row.case.clone(), vec![None; reports.len()]);
                rows.push(ComparedRow { case, seconds, times_as_fast: Vec::new() });
            }
            if let Outcome::Measured(measured) = &row.outcome {
                rows[index].seconds[number] = Some(measured.seconds.median);
            }
        }
    }
    for row in &mut rows {
        let first = row.seconds.first().copied().flatten();
        row.times_as_fast = row.seconds.iter().map(|seconds| Some(first? / (*seconds)?)).collect();
    }
    let reports = reports.into_iter().map(|(name, Report { machine, peak, .. })| Compared { name, machine, peak });
    Comparison { reports: reports.collect(), rows }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Work;
    use crate::report::tests::report;

    #[test]
    fn rows_are_matched_by_subject_and_ratios_are_to_the_first_report() {
        let slow = report("a", &[(Work::Forward, Some(2.0)), (Work::Saliency, Some(8.0)), (Work::Occlusion, None)]);
        let fast = report("b", &[(Work::Saliency, Some(2.0)), (Work::Occlusion, Some(1.0)), (Work::Attention, None)]);
        let both = compare(vec![("a.json".to_owned(), slow), ("b.json".to_owned(), fast)]);
        let names: Vec<&str> = both.reports.iter().map(|report| report.name.as_str()).collect();
        assert_eq!(names, ["a.json", "b.json"]);
        let rows: Vec<_> =
            both.rows.iter().map(|row| (row.case.work, row.seconds.as_slice(), row.times_as_fast.as_slice())).collect();
        assert_eq!(
            rows,
            [
                (Work::Forward, &[Some(2.0), None][..], &[Some(1.0), None][..]),
                (Work::Saliency, &[Some(8.0), Some(2.0)], &[Some(1.0), Some(4.0)]),
                (Work::Occlusion, &[None, Some(1.0)], &[None, None]),
                (Work::Attention, &[None, None], &[None, None]),
            ]
        );
    }

    #[test]
    fn different_lengths_are_different_rows() {
        let short = report("a", &[(Work::Forward, Some(2.0))]);
        let mut long = short.clone();
        long.rows[0].case.lengths.target += 1;
        assert_eq!(compare(vec![("a".to_owned(), short), ("b".to_owned(), long)]).rows.len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_report_compared_with_itself_has_ratio_1(seconds in prop::collection::vec(1e-6..1e3f64, 1..8), copies in 1usize..4) {
            let rows: Vec<_> = Work::ALL.into_iter().zip(seconds.into_iter().map(Some)).collect();
            let report = report("a", &rows);
            let comparison = compare((0..copies).map(|copy| (copy.to_string(), report.clone())).collect());
            prop_assert_eq!(comparison.rows.len(), rows.len());
            for row in comparison.rows {
                prop_assert_eq!(row.times_as_fast, vec![Some(1.0); copies]);
            }
        }
    }
}

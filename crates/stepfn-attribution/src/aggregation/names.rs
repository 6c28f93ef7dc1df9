//! Errors for stages and functions that don't exist, with the name that was probably meant.

use stepfn_core::CatalogError;
use stepfn_core::catalog::nearest;

use super::{Function, Stage};
use crate::AttributionError;

/// What people call stages and functions elsewhere.
const ALSO_CALLED: [(&str, &str); 13] = [
    ("avg", "mean"),
    ("average", "mean"),
    ("product", "prod"),
    ("l2", "vnorm"),
    ("norm", "vnorm"),
    ("euclidean", "vnorm"),
    ("words", "subwords"),
    ("normalise", "normalize"),
    ("turns", "messages"),
    ("sentence", "sentences"),
    ("line", "lines"),
    ("merge", "spans"),
    ("diff", "pair"),
];

/// The error of a stage that doesn't exist.
pub(super) fn unknown_stage(name: &str) -> AttributionError {
    unknown("aggregation stage", name, &Stage::ABOUT.map(|(name, _)| name))
}

/// The error of a function that doesn't exist.
pub(super) fn unknown_function(name: &str) -> AttributionError {
    unknown("aggregation function", name, &Function::ALL.map(Function::name))
}

fn unknown(kind: &'static str, name: &str, available: &[&str]) -> AttributionError {
    let also = ALSO_CALLED.iter().find(|(also, meant)| *also == name && available.contains(meant));
    let meant = also.map(|(_, meant)| *meant).or_else(|| nearest(name, available.iter().copied()));
    CatalogError::UnknownName {
        kind,
        name: name.to_owned(),
        nearest: meant.map(str::to_owned),
        available: available.iter().map(|&name| name.to_owned()).collect(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_and_function_is_suggested_for_a_typing_error() {
        let error = |name: &str| name.parse::<super::super::Pipeline>().unwrap_err().to_string();
        for (name, _) in Stage::ABOUT {
            let (typed, meant) = (format!("{}x{}", &name[..2], &name[2..]), format!("did you mean `{name}`?"));
            assert!(error(&typed).contains(&meant), "{typed}: {}", error(&typed));
            assert!(error(&format!("{typed}(1)")).contains(&meant), "{typed}");
        }
        for function in Function::ALL {
            let (typed, meant) = (format!("{function}x"), format!("did you mean `{function}`?"));
            for stage in [format!("subwords({typed})"), format!("spans(source=0:2,{typed})")] {
                assert!(error(&stage).contains(&meant), "{stage}: {}", error(&stage));
            }
        }
        for (also, meant) in ALSO_CALLED {
            assert!(error(also).contains(&format!("did you mean `{meant}`?")), "{also}");
        }
    }
}

//! `--set`: parameters of whatever was asked for by name.

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_core::Registry;
use stepfn_models::config::DropoutRates;

use crate::failure::Failure;
use crate::model::{assignment, nearest};

/// Something that has parameters: a step function, a method.
pub(super) struct Owner {
    pub(super) name: String,
    /// Its parameters' names.
    pub(super) known: Vec<String>,
}

/// Each owner's parameters: `name=value` is given to all that have it, `owner.name=value` to one. `what` they are called together, and how
/// one more of them is asked for.
pub(super) fn assigned(
    owners: &[Owner],
    sets: &[String],
    (what, add): (&str, impl Fn(&str) -> String),
) -> Result<Vec<Map<String, Value>>, Failure> {
    let mut parameters = vec![Map::new(); owners.len()];
    for text in sets {
        let (target, value) = assignment(text, "set")?;
        let (owner, parameter) = match target.split_once('.') {
            Some((owner, parameter)) => (Some(owner), parameter),
            None => (None, target.as_str()),
        };
        let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
        if let Some(owner) = owner.filter(|owner| !names.contains(owner)) {
            let what = format!("--set {text}: `{owner}` is none of {what} asked for: {}", names.join(", "));
            return Err(Failure::usage(what, add(owner)));
        }
        let mut taken = false;
        let mut known = Vec::new();
        for (one, own) in owners.iter().zip(&mut parameters) {
            if owner.is_none_or(|owner| owner == one.name) {
                if one.known.iter().any(|known| known == parameter) {
                    own.insert(parameter.to_owned(), value.clone());
                    taken = true;
                }
                known.extend(one.known.iter().map(String::as_str));
            }
        }
        if !taken {
            let meant = nearest(parameter, known.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
            let asked = owner.map_or_else(|| names.join(", "), str::to_owned);
            let what = format!("--set {text}: no parameter `{parameter}`{meant} of {asked}");
            return Err(Failure::usage(what, LISTS));
        }
    }
    Ok(parameters)
}

/// Where parameters are listed.
const LISTS: &str = "see `stepfn list step-functions` and `stepfn list methods` for the parameters";

/// The names of a step function's parameters.
pub(super) fn of_function<B: Backend>(registry: &Registry<B>, name: &str) -> Owner {
    let about = registry.iter().find(|about| about.name == name);
    let known = about.into_iter().flat_map(|about| about.parameters.keys().cloned()).collect();
    Owner { name: name.to_owned(), known }
}

/// One rate at every site.
pub(super) fn everywhere(rate: f64) -> DropoutRates {
    DropoutRates { embedding: rate, attention: rate, residual: rate, activation: rate, last: rate }
}

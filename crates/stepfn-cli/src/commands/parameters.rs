//! `--set`: parameters of methods and step functions.

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn::extend::AttributionMethod;
use stepfn::{AttributedFn, Registry, nearest};

use super::unused;
use crate::failure::Failure;

/// Something that has parameters: a step function, a method.
pub(super) struct Owner {
    pub(super) name: String,
    /// Its parameters' names.
    pub(super) known: Vec<String>,
}

impl Owner {
    /// A step function.
    pub(super) fn of_function<B: Backend>(registry: &Registry<B>, name: &str) -> Self {
        Self::of(name, registry.functions())
    }

    /// An attribution method.
    pub(super) fn of_method<B: Backend>(registry: &Registry<B>, name: &str) -> Self {
        Self::of(name, registry.methods())
    }

    fn of<'a>(name: &str, mut all: impl Iterator<Item = &'a stepfn::Description>) -> Self {
        let description = all.find(|description| description.name == name);
        let known = description.into_iter().flat_map(|description| description.parameters.keys().cloned());
        Self { name: name.to_owned(), known: known.collect() }
    }
}

/// The step function of that name.
pub(super) fn function<B: Backend>(
    registry: &Registry<B>,
    name: &str,
    parameters: Value,
) -> Result<AttributedFn<B>, Failure> {
    registry.function(name, &parameters).map_err(|error| Failure::listed(error, "step-functions"))
}

/// The step functions of `--step-fn`, with the parameters of `--set`.
pub(super) fn functions<B: Backend>(names: &[String], set: &[String]) -> Result<Vec<AttributedFn<B>>, Failure> {
    let registry = Registry::<B>::default();
    for name in names {
        // Report unknown names before their parameters.
        function(&registry, name, Value::Null)?;
    }
    unused::check_once("--step-fn", names, String::clone)?;
    let owners: Vec<Owner> = names.iter().map(|name| Owner::of_function(&registry, name)).collect();
    let add = |function: &str| format!("add it with --step-fn {function}");
    let parameters = assigned(&owners, set, ("the step functions", add))?;
    names.iter().zip(parameters).map(|(name, own)| function(&registry, name, own.into())).collect()
}

/// The attribution method of that name.
pub(super) fn method<B: Backend>(
    registry: &Registry<B>,
    name: &str,
    parameters: Value,
) -> Result<Box<dyn AttributionMethod<B>>, Failure> {
    registry.method(name, &parameters).map_err(|error| Failure::listed(error, "methods"))
}

/// Parses `NAME=VALUE`. The value is JSON if it parses as JSON, and a string otherwise.
pub(super) fn assignment(text: &str, option: &str) -> Result<(String, Value), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::usage(format!("--{option} {text}: expected NAME=VALUE"), format!("write --{option} NAME=VALUE"))
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.trim().to_owned(), value))
}

/// Each owner's parameters: `name=value` sets it for all owners that have it, `owner.name=value` for one of them. For error messages, `what`
/// names all owners, and `add` says how to add one.
pub(super) fn assigned(
    owners: &[Owner],
    sets: &[String],
    (what, add): (&str, impl Fn(&str) -> String),
) -> Result<Vec<Map<String, Value>>, Failure> {
    unused::check_set_once("--set", sets)?;
    let mut parameters = vec![Map::new(); owners.len()];
    for text in sets {
        let (target, value) = assignment(text, "set")?;
        let (owner, parameter) = match target.split_once('.') {
            Some((owner, parameter)) => (Some(owner), parameter),
            None => (None, target.as_str()),
        };
        let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
        if let Some(owner) = owner.filter(|owner| !names.contains(owner)) {
            let meant = suggestion(owner, &names);
            let what = format!("--set {text}: `{owner}` is none of {what} asked for{meant}: {}", names.join(", "));
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
            let meant = suggestion(parameter, &known);
            let asked = owner.map_or_else(|| names.join(", "), str::to_owned);
            let what = format!("--set {text}: no parameter `{parameter}`{meant} of {asked}");
            return Err(Failure::usage(what, LISTS));
        }
    }
    Ok(parameters)
}

fn suggestion(name: &str, known: &[&str]) -> String {
    nearest(name, known.iter().copied()).map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"))
}

/// The hint that says where parameters are listed.
const LISTS: &str = "see `stepfn list step-functions` and `stepfn list methods` for the parameters";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_or_text() {
        assert_eq!(assignment("top_p=0.9", "set").unwrap(), ("top_p".to_owned(), json!(0.9)));
        assert_eq!(assignment("statistic=zscore", "set").unwrap().1, json!("zscore"));
        assert_eq!(assignment("eos=[1, 2]", "set").unwrap().1, json!([1, 2]));
        assert_eq!(assignment("top_p", "set").unwrap_err().code, 2);
    }
}

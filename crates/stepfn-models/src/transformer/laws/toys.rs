//! The laws for the laws: a part with nothing but a forward passes, and a wrong backward is found out.

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};

use super::{B, Case, check, random};
use crate::ModelError;
use crate::transformer::front::Gradients;
use crate::transformer::part::{Forward, One, Part};
use crate::transformer::places::Places;
use crate::transformer::rule::{Rule, Saved};

/// `x · sigmoid(mean x)`: a gate over whole rows, without a backward of its own.
#[derive(Debug, Clone)]
struct RowGate;

impl<B: Backend> Forward<B> for RowGate {
    type Inputs = One;
    type Around = ();
    type Lifted = RowGate;

    fn lift(&self) -> RowGate {
        RowGate
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        sigmoid(x.clone().mean_dim(1)) * x
    }
}

impl<B: Backend> Part<B> for RowGate {
    const NAME: &'static str = "row gate";

    type Tape = Tensor<B, 2>;

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, Tensor<B, 2>) {
        (self.forward(x.clone(), &()), x)
    }

    fn input(x: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        Some(x.clone())
    }

    fn first(x: &Tensor<B, 2>, places: &Places<B>) -> Tensor<B, 2> {
        places.of(x)
    }
}

/// `x²`, with some mistake.
#[derive(Debug, Clone)]
struct Broken(Mistake);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    /// The derivative is taken for `x`.
    Derivative,
    /// Cotangents are multiplied by rows of other places.
    Rows,
    /// The tape is not cut.
    Tape,
    /// Multipliers are those of the gradient.
    Multipliers,
    /// Relevance is not linear in the cotangent.
    Relevance,
    /// None.
    None,
}

impl<B: Backend> Forward<B> for Broken {
    type Inputs = One;
    type Around = ();
    type Lifted = Broken;

    fn lift(&self) -> Broken {
        self.clone()
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        x.powi_scalar(2)
    }
}

impl<B: Backend> Part<B> for Broken {
    const NAME: &'static str = "broken part";

    type Tape = (Mistake, Tensor<B, 2>);

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, Self::Tape) {
        (self.forward(x.clone(), &()), (self.0, x))
    }

    fn backward(
        &self,
        tape: Saved<'_, B, Self::Tape>,
        (): &(),
        grad: Gradients<B>,
    ) -> Result<Gradients<B>, ModelError> {
        let x = tape.part(|(_, x)| x);
        let factor = match x.rule {
            Rule::Gradient if self.0 == Mistake::Derivative => x.here.clone(),
            Rule::DeepLift { baseline } if self.0 != Mistake::Multipliers => x.here.clone() + baseline.clone(),
            Rule::AttnLrp => x.here.clone(),
            _ => x.here.clone().mul_scalar(2),
        };
        let factor = match self.0 {
            Mistake::Rows if grad.clone().settled().1.places().is_some() => factor.mul_scalar(0.5),
            _ => factor,
        };
        let grad = grad.scaled(Some(&factor));
        match (self.0, x.rule) {
            (Mistake::Relevance, Rule::AttnLrp) => Ok(grad.map(|grad, _| grad.powi_scalar(2))),
            _ => Ok(grad),
        }
    }

    fn first((mistake, x): &Self::Tape, places: &Places<B>) -> Self::Tape {
        let x = places.of(x);
        (*mistake, if *mistake == Mistake::Tape { x.mul_scalar(2) } else { x })
    }
}

fn broken(mistake: Mistake) -> Case<Broken> {
    let case = Case::rowwise(format!("{mistake:?}"), Broken(mistake), (), random(21, [6, 4]), 2);
    Case { first: Some((2, ())), ..case }
}

#[test]
fn a_part_that_only_goes_forward_is_right() {
    let case = Case::rowwise("row gate".to_owned(), RowGate, (), random(20, [6, 4]), 2);
    check(&Case { first: Some((2, ())), has_rules: false, ..case });
}

#[test]
fn a_part_that_only_goes_forward_refuses_other_rules() {
    let x = random(20, [6, 4]);
    let grad = || Gradients::<B>::of_rows(random(22, [6, 4]));
    for rule in [Rule::AttnLrp, Rule::DeepLift { baseline: &x }] {
        let name = rule.name();
        let error = RowGate.backward(Saved::new(&x, rule), &(), grad()).unwrap_err();
        assert_eq!(error, ModelError::NoRule { part: "row gate", rule: name });
        assert!(error.to_string().starts_with(&format!("the part `row gate` has no rule for {name}")), "{error}");
    }
}

#[test]
fn mistakes_are_found() {
    check(&broken(Mistake::None));
    for (mistake, law) in [
        (Mistake::Derivative, "gradient"),
        (Mistake::Rows, "at rows"),
        (Mistake::Tape, "first places"),
        (Mistake::Multipliers, "DeepLIFT"),
        (Mistake::Relevance, "AttnLRP"),
    ] {
        let found = std::panic::catch_unwind(|| check(&broken(mistake))).unwrap_err();
        let message = found.downcast_ref::<String>().unwrap();
        assert!(message.contains(law), "{mistake:?}: {message}");
    }
}

/// `docs/src/recipes/part.md` shows the row gate as it is here.
#[test]
fn the_recipe_shows_the_row_gate() {
    let recipe = include_str!("../../../../../docs/src/recipes/part.md");
    let toys: Vec<&str> = include_str!("toys.rs").lines().map(str::trim).collect();
    let shown = recipe.split("```").filter_map(|block| block.strip_prefix("rust,ignore\n"));
    let code = shown.filter(|block| block.starts_with("impl") || block.contains("struct RowGate")).flat_map(str::lines);
    let mut compared = 0;
    for line in code {
        let line = line.split("//").next().unwrap_or_default().trim();
        if !line.is_empty() && !line.starts_with("use ") && !line.contains("struct RowGate") {
            assert!(toys.contains(&line), "`{line}` is not in toys.rs");
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} lines were compared");
}

//! The backward pass of every family, compared with automatic differentiation, and its axioms.

use burn::tensor::DType;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stepfn_tests::models::folders;
use stepfn_tests::tape::{first_places_are_enough, multipliers_add_up, pulls_back_what_autodiff_does, spans_are_sums};

type Flex = stepfn_cpu::flex::Backend;

#[test]
fn gradients_match_automatic_differentiation() {
    for folder in folders() {
        for dropout in [false, true] {
            pulls_back_what_autodiff_does::<Flex>(&folder, DType::F64, 1e-9, dropout);
        }
    }
}

#[test]
fn fused_gradients_match_automatic_differentiation() {
    for folder in folders() {
        for dropout in [false, true] {
            pulls_back_what_autodiff_does::<Flex>(&folder, DType::F32, 1e-4, dropout);
        }
    }
}

#[test]
fn a_tape_cut_to_its_cotangents_gives_the_same_gradients() {
    for folder in folders() {
        first_places_are_enough::<Flex>(&folder, DType::F64, 1e-9);
        first_places_are_enough::<Flex>(&folder, DType::F32, 1e-4);
    }
}

/// Ways to make spans of the four places of a question.
fn spans_of_four() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<bool>(), 3).prop_map(|cuts| {
        let mut lens = vec![1];
        for cut in cuts {
            match (cut, lens.last_mut()) {
                (false, Some(last)) => *last += 1,
                _ => lens.push(1),
            }
        }
        lens
    })
}

#[test]
fn a_span_is_the_sum_of_its_places() {
    for folder in folders() {
        let mut runner = TestRunner::new(Config { cases: 3, failure_persistence: None, ..Config::default() });
        let run = |lens: Vec<usize>| {
            spans_are_sums::<Flex>(&folder, DType::F64, &lens, 1e-9);
            Ok(())
        };
        runner.run(&spans_of_four(), run).unwrap();
        spans_are_sums::<Flex>(&folder, DType::F64, &[4], 1e-9);
        spans_are_sums::<Flex>(&folder, DType::F32, &[1, 3], 1e-4);
    }
}

#[test]
fn multipliers_of_deep_lift_add_up() {
    for folder in folders() {
        multipliers_add_up::<Flex>(&folder, DType::F64, 1e-4);
    }
}

//! The backward pass of every family, compared with automatic differentiation, and its axioms.

use burn::tensor::DType;
use stepfn_tests::models::folders;
use stepfn_tests::tape::{first_places_are_enough, multipliers_add_up, pulls_back_what_autodiff_does};

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

#[test]
fn multipliers_of_deep_lift_add_up() {
    for folder in folders() {
        multipliers_add_up::<Flex>(&folder, DType::F64, 1e-4);
    }
}

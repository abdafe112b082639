//! Held against libraries of others: values by scipy and by the authors of the share's test, written by
//! `tests/oracles/values.py` with the versions it names.
//!
//! Not here: the reference's own values, which stand with each formula.

use serde::Deserialize;

use super::rank::larger;
use super::share::Split;
use super::worse::bets;

#[derive(Deserialize)]
struct Values {
    ranks: Vec<Samples>,
    shares: Vec<Share>,
    ratios: Vec<Likelihood>,
}

#[derive(Deserialize)]
struct Samples {
    x: Vec<f64>,
    y: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Share {
    w: f64,
    canary: f64,
    stable: f64,
    log: f64,
}

#[derive(Deserialize)]
struct Likelihood {
    canary: (f64, f64),
    stable: (f64, f64),
    ratio: f64,
    log: f64,
}

fn values() -> Values {
    serde_json::from_str(include_str!("../../tests/oracles/values.json")).unwrap()
}

#[test]
fn rank_tests_agree_with_scipy() {
    for (i, Samples { x, y, p }) in values().ranks.into_iter().enumerate() {
        let got = larger(&x, &y);
        assert!((got / p - 1.0).abs() < 1e-9, "{i}: {got}, scipy has {p}");
    }
}

#[test]
fn shares_agree_with_the_test_of_lindon_and_malek() {
    for row in values().shares {
        let (canary, stable) = (row.canary, row.stable);
        let got = Split { canary, stable }.log(row.w);
        assert!((got - row.log).abs() < 1e-8, "{got}, theirs is {}", row.log);
    }
}

/// The exact conditional likelihood ratio (Fisher's non-central hypergeometric): where bad requests
/// are few among all, the kernel with the same ratio is the same number.
#[test]
fn the_kernel_is_the_exact_likelihood_ratio_where_bad_requests_are_few() {
    for row in values().ratios {
        let ((n_c, x_c), (n_b, x_b)) = (row.canary, row.stable);
        let w = n_c / (n_c + n_b);
        let stable = 1.0 / (w * row.ratio + 1.0 - w);
        let got = x_c * (row.ratio * stable).ln() + x_b * stable.ln();
        let few = (x_c + x_b) / (n_c + n_b);
        let apart = (got - row.log).abs();
        assert!(apart < 7.0 * few + 0.05, "{got} and {}", row.log);
        // The grid has the same bet.
        let near = |bet: &super::worse::Bet| (bet.canary / bet.stable - row.ratio).abs() < 1e-9;
        let bet = bets(w, 1.0).into_iter().find(near).unwrap();
        assert!((bet.stable - stable).abs() < 1e-12);
    }
}

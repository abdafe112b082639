//! How often chance alone would bring so many events to one arm, given how many there were.
//!
//! Given the events of both arms, the canary's number is binomial with its part of the exposure,
//! where neither arm has more events in its time than the other (the conditional test of two
//! Poisson rates). For one look; not here: anything sequential (`worse`, `block`).

use statrs::distribution::{Binomial, DiscreteCDF};

/// Probability of at least `hits` of `trials`, each with probability `share`. Numbers are rounded
/// to whole ones; 1 where nothing was hit or `share` is no probability.
pub fn at_least(hits: f64, trials: f64, share: f64) -> f64 {
    let (hits, trials) = (hits.round().max(0.0) as u64, trials.round().max(0.0) as u64);
    match (hits.checked_sub(1), Binomial::new(share, trials)) {
        (Some(below), Ok(binomial)) => binomial.sf(below),
        (None, _) | (_, Err(_)) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: sums of binomial terms.
    #[test]
    fn tails_agree_with_sums_of_their_terms() {
        let rows = [
            (2.0, 2.0, 0.1, 0.01),
            (1.0, 2.0, 0.1, 0.19),
            (4.0, 6.0, 0.3, 0.070_47),
            (0.0, 6.0, 0.3, 1.0),
            (3.0, 3.0, 0.5, 0.125),
            (1.0, 1.0, f64::NAN, 1.0),
        ];
        for (hits, trials, share, want) in rows {
            let got = at_least(hits, trials, share);
            assert!((got - want).abs() < 1e-9, "{hits} of {trials}: {got}");
        }
    }
}

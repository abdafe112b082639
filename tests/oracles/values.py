"""Reference values from outside, for src/stats/oracles.rs.

    python3 -m venv v && v/bin/pip install scipy==1.17.1 ssrm-test==0.1.5
    v/bin/python tests/oracles/values.py > tests/oracles/values.json

Rank tests and likelihoods are scipy's; the share's e-values are those of the authors of that test
(Lindon and Malek, "Anytime-valid inference for multinomial count data"), ssrm-test.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
import scipy
from scipy.stats import betabinom, binom, mannwhitneyu, nchypergeom_fisher

np.Inf = np.inf  # ssrm-test 0.1.5 was written for numpy 1
from ssrm_test.ssrm_test import sequential_bayes_factors  # noqa: E402

chance = np.random.default_rng(20261121)


def ranks():
    """One-sided p-values: without ties and with, few samples (exact) and many, equal and apart."""
    rows = []
    for size, other in [(2, 3), (3, 8), (8, 8), (8, 40), (9, 9), (16, 30), (64, 64), (60, 200)]:
        for apart in [0.0, 0.7, -0.5]:
            for ties in [False, True]:
                x = np.round(chance.normal(apart, 1, size), 5)
                y = np.round(chance.normal(0, 1, other), 5)
                if ties:
                    x, y = np.round(x * 2), np.round(y * 2)
                p = mannwhitneyu(x, y, alternative="greater").pvalue
                rows.append({"x": x.tolist(), "y": y.tolist(), "p": float(p)})
    return rows


def shares():
    """ln e after the last of several increments of (canary, stable), prior 100 * (w, 1 - w)."""
    rows = []
    for w in [0.01, 0.05, 0.2, 0.5]:
        for odds in [1.0, 1.5, 0.5]:
            real = w * odds / (w * odds + 1 - w)
            ticks = [[int(c), 200 - int(c)] for c in chance.binomial(200, real, 12)]
            factors = sequential_bayes_factors(np.array(ticks), np.array([w, 1 - w]), np.array([w, 1 - w]), 100)
            bayes = float(np.log(factors[-1]))
            n, k = sum(map(sum, ticks)), sum(t[0] for t in ticks)
            direct = betabinom.logpmf(k, n, 100 * w, 100 * (1 - w)) - binom.logpmf(k, n, w)
            assert abs(bayes - direct) < 1e-8
            rows.append({"w": w, "canary": k, "stable": n - k, "log": bayes})
    return rows


def ratios():
    """The exact conditional likelihood ratio of `odds`, given the number of bad requests."""
    rows = []
    for canary, stable, bad_canary, bad_stable, odds in [
        (100, 900, 9, 11, 5.0), (1000, 9000, 9, 11, 5.0), (10000, 90000, 30, 90, 2.0),
        (5000, 5000, 40, 25, 1.5), (2000, 198000, 12, 150, 10.0), (20000, 20000, 25, 30, 3.0),
    ]:
        bad = bad_canary + bad_stable
        of = lambda o: nchypergeom_fisher.logpmf(bad_canary, canary + stable, bad, canary, o)
        rows.append({
            "canary": [canary, bad_canary], "stable": [stable, bad_stable], "ratio": odds,
            "log": float(of(odds) - of(1.0)),
        })
    return rows


json.dump({
    "versions": {"python": sys.version.split()[0], "numpy": np.__version__, "scipy": scipy.__version__,
                 "ssrm-test": version("ssrm-test")},
    "ranks": ranks(), "shares": shares(), "ratios": ratios(),
}, sys.stdout)
print()

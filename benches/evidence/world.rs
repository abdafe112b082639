//! The simulated service: how often each of its pods answers badly, second by second.
//!
//! Ten pods unless said; the noise is that of the table in docs/concepts/noise.md: shared by
//! all, or of each pod's own, slow or in incidents. Rates are means: log-normal factors have mean 1.
//! Not here: requests and their counts (`traffic`).

use sluice::rollout::forecast::chance::Chance;

/// Pods of both arms together.
pub const PODS: usize = 10;

/// Noise of the rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// None: requests are independent.
    None,
    /// AR(1) of the logarithm, common to all pods: standard deviation, seconds.
    Shared(f64, f64),
    /// 30% errors everywhere for 20 s, each 10 min.
    SharedIncidents,
    /// AR(1) of the logarithm, each pod its own: standard deviation, seconds.
    PerPod(f64, f64),
    /// 50% errors of one pod for so many seconds, once an hour and pod.
    PodIncidents(f64),
    /// Pods differ for good: standard deviation of the logarithm.
    Persistent(f64),
}

/// The pods' rates over time.
pub struct World {
    noise: Noise,
    canary: usize,
    levels: [f64; PODS],
    common: f64,
    incident: [f64; PODS],
    second: f64,
    /// How much of a level is left a second later, and the deviation of what is new.
    keeps: (f64, f64),
}

impl World {
    /// A service with so many canary pods.
    pub fn new(noise: Noise, canary: usize, chance: &mut Chance) -> Self {
        let mut levels = [0.0; PODS];
        levels.fill_with(|| chance.normal());
        let seconds = match noise {
            Noise::Shared(_, seconds) | Noise::PerPod(_, seconds) => seconds,
            Noise::None
            | Noise::SharedIncidents
            | Noise::PodIncidents(_)
            | Noise::Persistent(_) => 1.0,
        };
        let keeps = (-1.0 / seconds).exp();
        Self {
            noise,
            canary,
            levels,
            common: chance.normal(),
            incident: [0.0; PODS],
            second: 0.0,
            keeps: (keeps, (1.0 - keeps * keeps).sqrt()),
        }
    }

    /// Bad shares of the canary's and of stable's requests in the next second, where the arms'
    /// means are `canary` and `stable`.
    pub fn next(&mut self, canary: f64, stable: f64, chance: &mut Chance) -> (f64, f64) {
        self.second += 1.0;
        if self.noise == Noise::None {
            return (canary, stable);
        }
        if let Noise::Shared(..) = self.noise {
            self.common = self.keeps.0 * self.common + self.keeps.1 * chance.normal();
        }
        let mut sums = (0.0, 0.0);
        for pod in 0..PODS {
            let (factor, extra) = self.pod(pod, chance);
            if pod < self.canary {
                sums.0 += (canary * factor + extra).min(1.0);
            } else {
                sums.1 += (stable * factor + extra).min(1.0);
            }
        }
        let canaries = self.canary as f64;
        (sums.0 / canaries, sums.1 / (PODS as f64 - canaries))
    }

    /// A pod's factor on its rate, and what is added to it.
    fn pod(&mut self, pod: usize, chance: &mut Chance) -> (f64, f64) {
        let factor = |deviation: f64, z: f64| (deviation * z - 0.5 * deviation * deviation).exp();
        match self.noise {
            Noise::None => (1.0, 0.0),
            Noise::Shared(deviation, _) => (factor(deviation, self.common), 0.0),
            Noise::SharedIncidents => {
                let within = self.second >= 600.0 && self.second % 600.0 < 20.0;
                (1.0, if within { 0.3 } else { 0.0 })
            }
            Noise::PerPod(deviation, _) => {
                let level = &mut self.levels[pod];
                *level = self.keeps.0 * *level + self.keeps.1 * chance.normal();
                (factor(deviation, *level), 0.0)
            }
            Noise::PodIncidents(seconds) => {
                let left = &mut self.incident[pod];
                if *left <= 0.0 && chance.uniform() < 1.0 / 3600.0 {
                    *left = seconds;
                }
                *left -= 1.0;
                (1.0, if *left >= 0.0 { 0.5 } else { 0.0 })
            }
            Noise::Persistent(deviation) => (factor(deviation, self.levels[pod]), 0.0),
        }
    }
}

//! A change of a Deployment's replicas that is no rollout: paused, or in the middle of one.
//!
//! Not here: rolling (`plan.rs`).

use super::plan::Roll;

impl Roll<'_> {
    /// Follows a change of the replicas without rolling: paused, or in the middle of a rollout.
    pub(super) fn scale(&mut self) {
        if let Some(only) = self.active_or_latest() {
            return self.resize(only, self.replicas);
        }
        if self.is_saturated() {
            for old in self
                .old()
                .filter(|&old| self.sets[old].replicas > 0)
                .collect::<Vec<_>>()
            {
                self.resize(old, 0);
            }
        } else if !self.is_recreate() {
            self.scale_proportionally();
        }
    }

    /// The one set with replicas; the newest if none has any; none if several have.
    fn active_or_latest(&self) -> Option<usize> {
        let mut active = (0..self.sets.len()).filter(|&set| self.sets[set].replicas > 0);
        match (active.next(), active.next()) {
            (None, _) => self.new.or_else(|| self.old().last()),
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => None,
        }
    }

    fn is_saturated(&self) -> bool {
        self.new.is_some_and(|new| {
            let set = &self.sets[new];
            set.replicas == self.replicas
                && set.desired() == Some(i64::from(self.replicas))
                && set.available == self.replicas
        })
    }

    fn scale_proportionally(&mut self) {
        let mut active: Vec<_> = (0..self.sets.len())
            .filter(|&set| self.sets[set].replicas > 0)
            .collect();
        let to_add = self.max_total() - self.total();
        // Larger sets first; among equals the newer when growing, the older when shrinking.
        active.sort_by_key(|&set| {
            let age = if to_add > 0 { usize::MAX - set } else { set };
            (-self.sets[set].replicas, age)
        });
        let mut sizes = Vec::new();
        let mut added = 0;
        for &set in &active {
            let share = self.proportion(set, to_add, added);
            sizes.push(self.sets[set].replicas + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in active.into_iter().zip(sizes) {
            self.resize(set, size);
        }
    }

    fn proportion(&self, set: usize, to_add: i32, added: i32) -> i32 {
        let set = &self.sets[set];
        if to_add == 0 {
            return 0;
        }
        let fraction = if self.replicas == 0 {
            -set.replicas
        } else {
            let status = self.deployment.status.as_ref();
            let before = set
                .max()
                .unwrap_or_else(|| i64::from(status.and_then(|s| s.replicas).unwrap_or(0)));
            let grown =
                f64::from(set.replicas) * f64::from(self.max_total()) / (before.max(1) as f64);
            grown.round() as i32 - set.replicas
        };
        let allowed = to_add - added;
        if to_add > 0 {
            fraction.min(allowed)
        } else {
            fraction.max(allowed)
        }
    }
}

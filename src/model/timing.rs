//! Times that are each allowed and cannot hold together: what `zkops apply` and `zkops plan` warn of.

use super::{ConfigApply, Probe, Problem, ServiceSpec, Span};

impl ServiceSpec {
    /// What in the description is allowed and will hardly do what is meant: the key, and what to set instead.
    pub fn warnings(&self) -> Vec<Problem> {
        let readiness = self.probes.readiness.as_ref().filter(|probe| probe.systemd.is_none());
        let liveness = self.probes.liveness.as_ref().filter(|probe| probe.systemd.is_none());
        // Without a readiness probe, liveness is what a replica's health rests on.
        let judge = readiness.map(|probe| ("readiness", probe)).or(liveness.map(|probe| ("liveness", probe)));
        let Some((kind, probe)) = judge else { return Vec::new() };
        let mut warnings = Vec::new();
        warnings.extend(self.deadline_too_short(kind, probe));
        warnings.extend(self.trial_too_short(kind, probe));
        warnings
    }

    fn deadline_too_short(&self, kind: &str, probe: &Probe) -> Option<Problem> {
        let rollout = &self.rollout;
        let more = probe.period.get().saturating_mul(probe.success_threshold.saturating_sub(1));
        let needed = probe.initial_delay.get().saturating_add(more).saturating_add(rollout.min_healthy_time.get());
        (needed >= rollout.healthy_deadline.get()).then(|| {
            let least = Span::from_secs(needed.as_secs() + 1);
            let message = format!(
                "{} is over before a replica can be healthy: probes.{kind} (initial_delay {}, success_threshold {}, \
                 period {}) and min_healthy_time ({}) take {}; every rollout would fail. Set it to more than {least}, or \
                 make the others shorter",
                rollout.healthy_deadline,
                probe.initial_delay,
                probe.success_threshold,
                probe.period,
                rollout.min_healthy_time,
                Span::from_secs(needed.as_secs()),
            );
            Problem::new("rollout.healthy_deadline", message)
        })
    }

    fn trial_too_short(&self, kind: &str, probe: &Probe) -> Option<Problem> {
        let healthy = self.rollout.min_healthy_time;
        let reread = self.config.as_ref().is_some_and(|config| config.apply != ConfigApply::Restart);
        let message = if healthy.get().is_zero() && reread {
            "0s lets a replica count as healthy by its first check, which a process may still answer with what it had \
             before a reload. Set it to 5s or more"
                .to_owned()
        } else if healthy < probe.timeout && !healthy.get().is_zero() {
            format!(
                "{healthy} is shorter than probes.{kind}.timeout ({}): a replica whose checks hang counts as healthy before \
                 the first of them has failed. Set it to more than the timeout",
                probe.timeout
            )
        } else {
            return None;
        };
        Some(Problem::new("rollout.min_healthy_time", message))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

    use serde_json::{Value, json};

    use super::*;

    fn keys(probes: Value, rollout: Value, config: Value) -> Vec<String> {
        let mut spec = json!({ "unit": "webapp@.service", "probes": probes, "rollout": rollout });
        if !config.is_null() {
            spec["config"] = config;
        }
        let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.problems(), [], "allowed");
        spec.warnings().into_iter().map(|warning| warning.key).collect()
    }

    #[test]
    fn times_that_cannot_hold_together_are_told() {
        let tcp = |times: Value| {
            let mut probe = json!({ "tcp": { "port": 80 } });
            probe.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
            probe
        };
        let none: [&str; 0] = [];
        let (healthy, deadline) = ("rollout.min_healthy_time", "rollout.healthy_deadline");
        assert_eq!(keys(json!({ "readiness": tcp(json!({})) }), json!({}), Value::Null), none, "the defaults");
        assert_eq!(keys(json!({}), json!({ "min_healthy_time": "0s" }), json!({ "apply": "reload" })), none);
        let slow = json!({ "initial_delay": "10m" });
        assert_eq!(keys(json!({ "readiness": tcp(slow.clone()) }), json!({}), Value::Null), [deadline]);
        assert_eq!(keys(json!({ "liveness": tcp(slow.clone()) }), json!({}), Value::Null), [deadline]);
        let both = json!({ "readiness": tcp(json!({})), "liveness": tcp(slow) });
        assert_eq!(keys(both, json!({}), Value::Null), none, "readiness decides");
        let rarely = json!({ "readiness": tcp(json!({ "success_threshold": 4, "period": "2m" })) });
        assert_eq!(keys(rarely, json!({}), Value::Null), [deadline]);
        let hangs = json!({ "readiness": tcp(json!({ "timeout": "30s" })) });
        assert_eq!(keys(hangs, json!({}), Value::Null), [healthy]);
        let quick = json!({ "readiness": tcp(json!({})) });
        assert_eq!(keys(quick.clone(), json!({ "min_healthy_time": "0s" }), json!({ "apply": "reload" })), [healthy]);
        assert_eq!(keys(quick, json!({ "min_healthy_time": "0s" }), json!({ "apply": "restart" })), none);
    }
}

//! The canary Service: the stable one's ports before canary pods.
//!
//! It is a plain `ClusterIP` Service (or headless, as the stable one), whatever the stable one
//! is: node ports and load balancers stay where they are. Of the annotations only those of
//! routers that read them from Services are taken, so that no DNS or cloud controller acts.
//!
//! Not here: endpoints, which follow from the selector.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::{Labels, Trial, lists_differ, meta_differs, service_name};

const ROUTER_ANNOTATIONS: [&str; 1] = ["traefik.ingress.kubernetes.io/"];

/// The Service before the canary's pods.
pub fn service(stable: &Service, trial: &Trial<'_>) -> Service {
    let name = service_name(stable.metadata.name.as_deref().unwrap_or_default());
    let spec = stable.spec.clone().unwrap_or_default();
    Service {
        metadata: trial.meta(name, &stable.metadata, router_annotations(stable)),
        spec: Some(ServiceSpec {
            cluster_ip: spec.cluster_ip.filter(|ip| ip == "None"),
            ip_family_policy: spec.ip_family_policy,
            ports: Some(
                spec.ports
                    .unwrap_or_default()
                    .into_iter()
                    .map(port)
                    .collect(),
            ),
            publish_not_ready_addresses: spec.publish_not_ready_addresses,
            selector: Some(trial.label.on(&spec.selector.unwrap_or_default())),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Whether the Service that exists is not the one that is wanted, in the fields that were set.
pub fn differs(desired: &Service, observed: &Service) -> bool {
    let (Some(want), Some(have)) = (&desired.spec, &observed.spec) else {
        return true;
    };
    let ports = |spec: &ServiceSpec| -> Vec<ServicePort> {
        spec.ports.iter().flatten().cloned().map(port).collect()
    };
    meta_differs(&desired.metadata, &observed.metadata)
        || want.selector != have.selector
        || want.type_ != have.type_
        || (want.cluster_ip.is_some() && want.cluster_ip != have.cluster_ip)
        || lists_differ(Some(&ports(want)), Some(&ports(have)))
}

/// A port as it is compared and copied: without a node port, with the protocol's default.
fn port(port: ServicePort) -> ServicePort {
    ServicePort {
        node_port: None,
        protocol: Some(port.protocol.unwrap_or_else(|| "TCP".to_owned())),
        ..port
    }
}

fn router_annotations(stable: &Service) -> Labels {
    let read = |key: &str| {
        ROUTER_ANNOTATIONS
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    let all = stable.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| read(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_trial;
    use super::*;
    use serde_json::{Value, json};

    fn stable(with: &Value) -> Service {
        let mut spec = json!({
            "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Local",
            "selector": {"app": "shop", "tier": "web"}, "sessionAffinity": "None",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "nodePort": 30080}],
        });
        json_patch::merge(&mut spec, with);
        serde_json::from_value(json!({
            "metadata": {
                "name": "shop", "namespace": "production", "labels": {"team": "a", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"external-dns.alpha.kubernetes.io/hostname": "x", "traefik.ingress.kubernetes.io/service.serversscheme": "h2c"},
            },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn ports_and_selector_are_taken_and_nothing_that_allocates() {
        let built = with_trial(|trial| service(&stable(&json!({})), trial));
        let expected = json!({
            "type": "ClusterIP", "selector": {"app": "shop-canary", "tier": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
        });
        assert_eq!(serde_json::to_value(&built.spec).unwrap(), expected);
        assert_eq!(built.metadata.name.as_deref(), Some("shop-canary"));
        let annotations: Vec<&str> = built
            .metadata
            .annotations
            .iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(
            annotations,
            [
                super::super::REVISION,
                super::super::RUN,
                "traefik.ingress.kubernetes.io/service.serversscheme"
            ]
        );
    }

    #[test]
    fn a_headless_service_has_a_headless_canary() {
        let built = with_trial(|trial| {
            service(
                &stable(&json!({"type": "ClusterIP", "clusterIP": "None"})),
                trial,
            )
        });
        assert_eq!(built.spec.unwrap().cluster_ip.as_deref(), Some("None"));
    }

    #[test]
    fn a_hand_edit_is_seen_and_what_the_server_adds_is_not() {
        let wanted = with_trial(|trial| service(&stable(&json!({})), trial));
        let mut stored = wanted.clone();
        let spec = stored.spec.as_mut().unwrap();
        spec.cluster_ip = Some("10.0.0.2".into());
        spec.session_affinity = Some("None".into());
        assert!(!differs(&wanted, &stored));
        let edits: [fn(&mut ServiceSpec); 3] = [
            |s| {
                s.selector
                    .as_mut()
                    .unwrap()
                    .insert("more".into(), "x".into());
            },
            |s| s.ports.as_mut().unwrap()[0].port = 81,
            |s| s.type_ = Some("NodePort".into()),
        ];
        for (index, edit) in edits.iter().enumerate() {
            let mut edited = stored.clone();
            edit(edited.spec.as_mut().unwrap());
            assert!(differs(&wanted, &edited), "edit {index}");
        }
    }
}

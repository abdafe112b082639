//! The way by which the traffic comes, as a Rollout says it.
//!
//! Not here: whether what it names exists (`preflight`).

use super::ANNOTATION_PREFIX;
use crate::kubernetes::crd;
use crate::kubernetes::problem::{Problems, quoted};
use crate::rollout::plan::Route;

impl Problems {
    pub(super) fn route(&mut self, spec: &crd::RolloutSpec) -> Route {
        let route = spec.route.as_ref();
        let nginx = route.and_then(|route| route.ingress_nginx.as_ref());
        let gateway = route.and_then(|route| route.gateway_api.as_ref());
        match (nginx, gateway) {
            (Some(nginx), None) => self.ingress_nginx(nginx),
            (None, Some(gateway)) => self.gateway_api(gateway, spec),
            (given, _) => {
                let found = given.map_or("nothing", |_| "ingressNginx and gatewayApi");
                let wanted = "the way by which the traffic comes, one of: ingressNginx, gatewayApi";
                self.note("spec.route", found, wanted);
                Route::GatewayApi {
                    http_route: String::new(),
                    service: None,
                }
            }
        }
    }

    fn ingress_nginx(&mut self, nginx: &crd::IngressNginx) -> Route {
        let prefix = nginx
            .annotation_prefix
            .as_deref()
            .unwrap_or(ANNOTATION_PREFIX);
        Route::IngressNginx {
            ingress: self.object_name("spec.route.ingressNginx.ingress", &nginx.ingress),
            service: nginx
                .service
                .as_deref()
                .map(|service| self.object_name("spec.route.ingressNginx.service", service)),
            prefix: self.object_name("spec.route.ingressNginx.annotationPrefix", prefix),
        }
    }

    fn gateway_api(&mut self, gateway: &crd::GatewayApi, spec: &crd::RolloutSpec) -> Route {
        let analysis = spec.analysis.as_ref();
        if analysis.is_none_or(|analysis| analysis.rules.is_empty()) {
            let wanted = "the rules of your Gateway's implementation, e.g. istio-error-rate (the default ones are ingress-nginx's)";
            self.note("spec.analysis.rules", "nothing", wanted);
        }
        let canary = spec.strategy.as_ref().and_then(|way| way.canary.as_ref());
        let matching = canary.and_then(|canary| canary.matching.as_ref());
        if let Some(cookie) = matching.and_then(|matching| matching.cookie.as_deref()) {
            let wanted =
                "none with `route.gatewayApi`, whose routes match no cookies: use a header";
            self.note("spec.strategy.canary.match.cookie", quoted(cookie), wanted);
        }
        let bare = |matching: &&crd::Match| {
            matching.header.is_some() && matching.value.is_none() && matching.pattern.is_none()
        };
        if let Some(header) = matching
            .filter(bare)
            .and_then(|matching| matching.header.as_deref())
        {
            let wanted =
                "a value or a pattern with it: `route.gatewayApi` knows no `always` and `never`";
            self.note("spec.strategy.canary.match.header", quoted(header), wanted);
        }
        Route::GatewayApi {
            http_route: self.object_name("spec.route.gatewayApi.httpRoute", &gateway.http_route),
            service: gateway
                .service
                .as_deref()
                .map(|service| self.object_name("spec.route.gatewayApi.service", service)),
        }
    }
}

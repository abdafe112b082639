//! The player's part in a scenario with the Gateway API: the kind `HTTPRoute` is defined before it begins.
//!
//! Not here: who serves them (`router`).

use kube::api::ListParams;

use super::super::format::{Scenario, Way};
use super::super::verbs::told;
use super::super::{kinds, manifests};
use super::Player;
use crate::sandbox::gateway;

/// How often it is looked whether the kind is served.
const TRIES: u32 = 50;

impl Player<'_> {
    /// Defines `HTTPRoutes` if the scenario wants them, and waits until they are served.
    pub(super) async fn define_routes(&self, scenario: &Scenario) -> Result<(), String> {
        if !scenario.cluster.gateway_api {
            return Ok(());
        }
        let client = self.stage.client(Way::ServerSide.account());
        let definition = gateway::definition();
        let sent = manifests::send(client.clone(), Way::ServerSide, &definition).await;
        sent.map_err(|error| told(&error))?;
        let routes = kinds::api(client, "HTTPRoute", None, "");
        let mut left = TRIES;
        loop {
            left -= 1;
            match routes.list(&ListParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 && left > 0 => {
                    self.stage.clock().sleep(self.stage.look_every()).await;
                }
                done => return done.map(drop).map_err(|error| told(&error)),
            }
        }
    }
}

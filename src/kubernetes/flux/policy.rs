//! Which tag an `ImagePolicy` on the cluster chooses: image automation writes that one.
//!
//! Not here: the policy's manifest in Git (`daemon::remedy`).

use serde_json::Value;

use super::{Error, Flux, Kind, Named, api, told, within};

const KIND: &str = "ImagePolicy";
const GROUP: &str = "image.toolkit.fluxcd.io";
/// Newer versions of Flux serve the first, older ones the second.
const VERSIONS: [Kind; 2] = [
    (GROUP, "v1", KIND, "imagepolicies"),
    (GROUP, "v1beta2", KIND, "imagepolicies"),
];

impl Flux {
    /// Whether a policy chooses this tag. One that is gone chooses none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn chooses(&self, at: &Named, tag: &str) -> Result<bool, Error> {
        for kind in VERSIONS {
            let api = api(&self.reads, kind, at);
            match within(&told(KIND, at), api.get(&at.name)).await {
                Ok(found) => return Ok(chosen(&found.data["status"]) == Some(tag)),
                Err(Error::Read {
                    source: kube::Error::Api(status),
                    ..
                }) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// The tag, as newer and as older versions of Flux say it.
fn chosen(status: &Value) -> Option<&str> {
    let older = || {
        let image = status["latestImage"].as_str()?;
        let image = image.split('@').next()?;
        image.rsplit_once(':').map(|(_, tag)| tag)
    };
    status["latestRef"]["tag"].as_str().or_else(older)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_a_policys_status_say_the_tag() {
        let newer = json!({"latestRef": {"name": "r.example:5000/shop", "tag": "v3"}});
        assert_eq!(chosen(&newer), Some("v3"));
        let older = json!({"latestImage": "r.example:5000/shop:v3@sha256:12"});
        assert_eq!(chosen(&older), Some("v3"));
        assert_eq!(chosen(&json!({})), None);
    }
}

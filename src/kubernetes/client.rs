//! A client whose failures say which server did not answer.
//!
//! The transport's own errors name neither the server nor its address; whoever reads a log with
//! two clusters in it needs one. Answers of the server, also refusals, are left as they are.
//!
//! Not here: which cluster is wanted, and how long it may take (`daemon::connect`, `cli::connect`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Cluster, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapErrLayer;

use crate::http_client;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{address} gives no answer")]
struct Unanswered {
    address: String,
    source: BoxError,
}

/// Why it is not known which cluster is meant.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The kubeconfig cannot be read, or lacks what is named.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither in a cluster nor a kubeconfig.
    #[error(transparent)]
    Infer(#[from] InferConfigError),
}

/// The cluster of a kubeconfig file; without one that of a context where kubectl has them; without either the one
/// that we are in, or kubectl's present one.
pub async fn config(file: Option<&Path>, context: Option<&str>) -> Result<Config, Unknown> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let kubeconfig = match file {
        Some(file) => Some(Kubeconfig::read_from(file)?),
        // Where there is none we are in a cluster, or are told below.
        None => Kubeconfig::read().ok(),
    };
    let cluster = kubeconfig.as_ref().map(|it| cluster(it, context).cloned());
    let mut config = match (file, kubeconfig) {
        (Some(_), Some(kubeconfig)) => Config::from_custom_kubeconfig(kubeconfig, &options).await?,
        _ if context.is_some() => Config::from_kubeconfig(&options).await?,
        _ => Config::infer().await?,
    };
    let Some(cluster) = cluster.map(Option::unwrap_or_default) else {
        return Ok(config);
    };
    // kube holds NO_PROXY against the proxy's address, not the cluster's.
    if cluster.proxy_url.is_none() {
        let proxy = http_client::proxy(&config.cluster_url);
        config.proxy_url = proxy.map(|proxy| config.proxy_url.take().unwrap_or(proxy));
    }
    // kube reads an authority again in a cluster only.
    if cluster.certificate_authority_data.is_none() {
        config.root_cert_file = cluster.certificate_authority.map(PathBuf::from);
    }
    Ok(config)
}

/// The cluster that is meant, as the kubeconfig has it.
fn cluster<'a>(kubeconfig: &'a Kubeconfig, context: Option<&str>) -> Option<&'a Cluster> {
    let context = context.or(kubeconfig.current_context.as_deref())?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|one| one.name == context)?;
    let cluster = &context.context.as_ref()?.cluster;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|one| one.name == *cluster)?;
    cluster.cluster.as_ref()
}

/// How long the API server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection is there.
    pub connect: Duration,
    /// While nothing is read.
    pub read: Duration,
}

/// The same cluster, waited for so long and asked once: those who ask try again themselves.
pub fn patient(mut config: Config, patience: Patience) -> Config {
    config.connect_timeout = Some(patience.connect);
    config.read_timeout = Some(patience.read);
    config.default_retry = false;
    config
}

/// A client of the cluster that `config` names.
pub fn client(config: Config) -> Result<Client, kube::Error> {
    let uri = &config.cluster_url;
    let address = uri.authority().map_or(uri.to_string(), ToString::to_string);
    let named = MapErrLayer::new(move |source: BoxError| -> BoxError {
        // What the client itself says is told apart by its callers.
        if source.is::<kube::Error>() {
            return source;
        }
        let address = address.clone();
        Box::new(Unanswered { address, source })
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&named).build())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::causes;

    #[tokio::test]
    async fn an_authority_that_is_a_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let text = STANDARD.encode(made.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(folder.path().join("ca.crt"), pem).unwrap();
        let of = |authority: &str| {
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
                 contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
                 users: [{{name: a, user: {{token: t}}}}]\n\
                 clusters: [{{name: a, cluster: {{server: 'https://127.0.0.1:1'{authority}}}}}]\n"
            )
        };
        let file = folder.path().join("kubeconfig");
        for (authority, wanted) in [
            (", certificate-authority: ca.crt", Some("ca.crt")),
            ("", None),
        ] {
            std::fs::write(&file, of(authority)).unwrap();
            let config = config(Some(&file), None).await.unwrap();
            let wanted = wanted.map(|name| folder.path().join(name));
            assert_eq!(config.root_cert_file, wanted);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address_and_the_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        let client = client(config).unwrap();
        let told = causes::told(&client.apiserver_version().await.unwrap_err());
        let wanted = format!("{address} gives no answer: ");
        assert!(told.starts_with(&wanted), "{told}");
        assert!(told.to_lowercase().contains("connection refused"), "{told}");
    }
}

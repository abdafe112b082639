//! TLS to a real `PostgreSQL` that takes nothing else: whose certificate is believed, and by which name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sluice::history::{Error, Postgres as Opened, Server as Database};

use crate::postgres::{Postgres, is_root, programs, run};

const SECOND: Duration = Duration::from_secs(1);
/// So that only what is asked for is in a certificate.
const CONFIG: &str = "[req]\ndistinguished_name = dn\n[dn]\n";

/// An authority of this name, and a certificate of it for 127.0.0.1.
fn authority(folder: &Path, name: &str) -> PathBuf {
    let at = |file: &str| folder.join(format!("{name}-{file}")).display().to_string();
    let config = at("openssl.cnf");
    std::fs::write(&config, CONFIG).unwrap();
    let made = |more: &[&str]| {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-config", &config])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    let subject = format!("/CN={name}");
    let (ca, ca_key) = (at("ca.pem"), at("ca.key"));
    let signs = ["-addext", "basicConstraints=critical,CA:TRUE"];
    made(
        &[
            &["-keyout", &ca_key, "-out", &ca, "-subj", &subject][..],
            &signs,
        ]
        .concat(),
    );
    let (leaf, leaf_key) = (at("leaf.pem"), at("leaf.key"));
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-subj", "/CN=database"];
    let into = ["-keyout", &leaf_key, "-out", &leaf];
    let says = [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ];
    made(&[&by[..], &into, &says].concat());
    ca.into()
}

/// Takes only what is encrypted, by the certificate of this authority.
fn encrypted(server: &mut Postgres, name: &str) {
    let folder = server.folder.path().to_owned();
    let hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(folder.join("data/pg_hba.conf"), hba).unwrap();
    let (leaf, key) = (
        folder.join(format!("{name}-leaf.pem")),
        folder.join(format!("{name}-leaf.key")),
    );
    if is_root() {
        run(
            "chown",
            &["postgres".as_ref(), key.as_os_str(), leaf.as_os_str()],
        );
    }
    server.more = vec![
        "-cssl=on".to_owned(),
        format!("-cssl_cert_file={}", leaf.display()),
        format!("-cssl_key_file={}", key.display()),
    ];
}

async fn opened(
    server: &Postgres,
    host: &str,
    words: &str,
    ca: Option<&Path>,
) -> Result<(), Error> {
    let database = Database {
        url: format!("postgres://sluice@{host}:{}/postgres{words}", server.port),
        password_file: Some(server.folder.path().join("password")),
        ca_file: ca.map(Path::to_owned),
    };
    Opened::open(&database).await.map(drop)
}

async fn until_opened(server: &Postgres, words: &str, ca: Option<&Path>) {
    let look = async {
        loop {
            let Err(error) = opened(server, "127.0.0.1", words, ca).await else {
                return;
            };
            eprintln!("{}", sluice::causes::told(&error));
            tokio::time::sleep(SECOND / 5).await;
        }
    };
    tokio::time::timeout(SECOND * 60, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_the_history_is_checked_and_nothing_goes_in_the_clear() {
    let Some(programs) = programs() else {
        return;
    };
    let mut server = Postgres::new(programs);
    let folder = server.folder.path().to_owned();
    let (right, wrong) = (authority(&folder, "right"), authority(&folder, "wrong"));
    encrypted(&mut server, "right");
    server.start();
    until_opened(&server, "", Some(&right)).await;
    let (right, wrong) = (Some(right.as_path()), Some(wrong.as_path()));
    let cases = [
        ("127.0.0.1", "?sslmode=verify-full", right, None),
        ("127.0.0.1", "?sslmode=require", right, None),
        ("127.0.0.1", "?sslmode=prefer", right, None),
        ("127.0.0.1", "", wrong, Some("certificate")),
        ("127.0.0.1", "?sslmode=require", wrong, Some("certificate")),
        // The system's authorities do not know it, or there are none.
        ("127.0.0.1", "", None, Some("certificate")),
        // Its certificate is for the address only.
        ("localhost", "", right, Some("")),
        (
            "127.0.0.1",
            "?sslmode=disable",
            right,
            Some("no encryption"),
        ),
    ];
    for (host, words, ca, refused) in cases {
        let found = opened(&server, host, words, ca).await;
        match (found, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(wanted)) => {
                let told = sluice::causes::told(&error);
                assert!(told.contains(wanted), "{host} {words} {ca:?}: {told}");
            }
            (found, refused) => panic!("{host} {words} {ca:?}: {found:?}, wanted {refused:?}"),
        }
    }

    // A server without TLS is taken only where that is said.
    server.stop();
    server.more.clear();
    let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(folder.join("data/pg_hba.conf"), hba).unwrap();
    server.start();
    until_opened(&server, "?sslmode=prefer", None).await;
    assert!(
        opened(&server, "127.0.0.1", "?sslmode=disable", None)
            .await
            .is_ok()
    );
    for words in ["", "?sslmode=verify-full"] {
        let refused = opened(&server, "127.0.0.1", words, right)
            .await
            .unwrap_err();
        let told = sluice::causes::told(&refused);
        assert!(told.contains("TLS"), "{told}");
    }
}

//! A Git server as people have it: Git's own `http-backend` behind HTTP, and a real sshd.
//!
//! The HTTP side is the CGI that Git ships, called for each request; it asks for a name and a
//! password. Repositories are bare, in a folder that goes with the test.
//!
//! Not here: what is pushed (`repository`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// `bot:token`, as a browser would send it.
const BASIC: &str = "Basic Ym90OnRva2Vu";
/// `x-access-token:token`, as GitHub takes an installation's token.
const INSTALLATION: &str = "Basic eC1hY2Nlc3MtdG9rZW46dG9rZW4=";
const BEARER: &str = "Bearer token";
const BODY_LIMIT: usize = 64 << 20;

/// Git over HTTP, on a free port, until it is dropped.
pub struct Http {
    /// Where the repositories are, without a credential.
    pub url: String,
    _task: JoinSet<()>,
}

impl Http {
    /// Serves the repositories under `folder`.
    pub async fn serve(folder: &Path) -> Self {
        Self::serve_behind(folder, |router| router).await
    }

    /// The same behind something.
    pub async fn serve_behind(folder: &Path, behind: impl FnOnce(Router) -> Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let folder: Arc<Path> = Arc::from(folder);
        let router = behind(Router::new().fallback(answer).with_state(folder));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, _task: task }
    }
}

async fn answer(State(folder): State<Arc<Path>>, request: Request) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    if !given.is_some_and(|given| {
        [BASIC, BEARER, INSTALLATION]
            .iter()
            .any(|known| given == known)
    }) {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let backend = backend(&folder, &request);
    let body = to_bytes(request.into_body(), BODY_LIMIT).await.unwrap();
    let output = tokio::task::spawn_blocking(move || called(backend, &body)).await;
    unpacked(output.unwrap())
}

/// What the CGI says to a body.
fn called(mut backend: Command, body: &[u8]) -> Vec<u8> {
    let mut child = backend.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // The backend may end before it read everything.
            let _ = input.write_all(body);
        });
        child.wait_with_output()
    });
    output.unwrap().stdout
}

/// The CGI with what it is asked.
fn backend(folder: &Path, request: &Request) -> Command {
    let header = |name| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut backend = Command::new("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "bot")
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", request.uri().path())
        .env("QUERY_STRING", request.uri().query().unwrap_or_default())
        .env("CONTENT_TYPE", header(header::CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", header(header::CONTENT_ENCODING))
        .env(
            "GIT_PROTOCOL",
            header(HeaderName::from_static("git-protocol")),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    backend
}

/// A CGI's output: headers, an empty line, the body.
fn unpacked(output: Vec<u8>) -> Response {
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    let mut response = Response::new(Body::from(body));
    for line in head.lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse().unwrap();
            continue;
        }
        let name: HeaderName = name.parse().unwrap();
        response
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    response
}

/// A real sshd for one user, on a free port, until it is dropped.
pub struct Ssh {
    /// Where it listens.
    pub port: u16,
    /// The user's private key.
    pub identity: String,
    /// What must be known of it.
    pub known_hosts: String,
    server: Child,
}

/// Why there is no sshd.
#[derive(Debug)]
pub struct Missing;

impl Ssh {
    /// Starts one whose keys are in `folder`.
    pub async fn serve(folder: &Path) -> Result<Self, Missing> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() {
            return Err(Missing);
        }
        let (host, user) = (key(folder, "host"), key(folder, "user"));
        let allowed = tokio::fs::read(user.with_extension("pub")).await.unwrap();
        let authorized = folder.join("authorized_keys");
        tokio::fs::write(&authorized, allowed).await.unwrap();
        let port = free_port().await;
        let options = [
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".to_owned(),
            format!("HostKey={}", host.display()),
            format!("AuthorizedKeysFile={}", authorized.display()),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "PermitRootLogin=prohibit-password".to_owned(),
            "PidFile=none".to_owned(),
        ];
        let mut server = Command::new(program);
        server.args(["-D", "-e", "-f", "/dev/null"]);
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for option in options {
            server.arg("-o").arg(option);
        }
        // As root it wants this folder, which a system's start makes.
        let _ = tokio::fs::create_dir_all("/run/sshd").await;
        let server = server.spawn().unwrap();
        listens(port).await;
        let public = tokio::fs::read_to_string(host.with_extension("pub"))
            .await
            .unwrap();
        let identity = tokio::fs::read_to_string(&user).await.unwrap();
        Ok(Self {
            port,
            identity,
            known_hosts: format!("[127.0.0.1]:{port} {public}"),
            server,
        })
    }
}

fn key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    path
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn listens(port: u16) {
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("sshd does not listen on port {port}");
}

//! A way to the API server, below what the daemon's process sees, that can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A way to the API server that can be cut: then it accepts connections and brings nothing.
pub struct Way {
    pub address: SocketAddr,
    cut: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Way {
    pub async fn to(api: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let gate = cut.subscribe();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(api).await else {
                    continue;
                };
                let ((from_in, from_out), (to_in, to_out)) = (from.into_split(), to.into_split());
                pumps.spawn(pump(from_in, to_out, gate.clone()));
                pumps.spawn(pump(to_in, from_out, gate.clone()));
            }
        });
        Self {
            address,
            cut,
            _tasks: tasks,
        }
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let open = cut.wait_for(|cut| !cut).await.is_ok();
        if read == 0 || !open || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

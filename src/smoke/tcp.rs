//! A TCP connection.

use super::{Failure, connect};

/// Connects, and says nothing.
pub async fn ask(address: &str) -> Result<(), Failure> {
    connect(address).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_is_found_and_its_absence_too() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(ask(&address).await, Ok(()));
        drop(listener);
        let failure = ask(&address).await.unwrap_err();
        assert!(failure.starts_with("connecting to 127.0.0.1:"), "{failure}");
        let failure = ask("169.254.169.254:80").await.unwrap_err();
        assert!(failure.contains("link-local"), "{failure}");
        let failure = ask("no port").await.unwrap_err();
        assert!(failure.starts_with("no port is not found"), "{failure}");
    }
}

//! `sluice crd`: the definition of the Rollout resource, for `kubectl apply`.
//!
//! Not here: the definition itself (`kubernetes::crd`).

use super::{Error, Screen};
use crate::kubernetes::gate;

/// Prints it.
pub fn print(screen: &mut Screen) -> Result<(), Error> {
    let text = gate::crd_yaml().map_err(|error| Error::Format(error.to_string()))?;
    screen.print(&text)
}

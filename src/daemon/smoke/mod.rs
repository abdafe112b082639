//! Smoke tests beside the passes: asked for by a pass before a canary gets traffic, and made after
//! each sync of Flux (`sync`).
//!
//! Guarantees: the same tests of one run are made once at a time; what they came to is kept until
//! the Rollout begins another run or another daemon leads; a test that cannot be made (unknown, a word that
//! is not known, a Job that the cluster does not take) holds the run and is tried again. A daemon that starts again makes them again, which asks the
//! application once more and changes nothing.
//!
//! Not here: the tests themselves (`crate::smoke`).

mod in_force;
pub mod sync;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use in_force::{InForce, Tests};
use sync::{Poke, Syncs};

use super::context::{Access, Context};
use super::leader::Role;
use super::queue::Key;
use crate::clock::Clock;
use crate::rollout::observation::Smoked;
use crate::rollout::smoke::Words;
use crate::smoke::Asker;

/// After a test that could not be made: the time until it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Tests that a pass asks for.
#[derive(Debug)]
pub struct Order {
    /// Whose.
    pub key: Key,
    /// In which run.
    pub run: String,
    /// Their names.
    pub tests: Vec<String>,
    /// What is filled in.
    pub words: Words,
}

/// Tells the orders apart, also those for one run.
type Ticket = u64;

/// What became of an order.
#[derive(Debug, Clone)]
struct Made {
    run: String,
    ticket: Ticket,
    /// `None` while they are made.
    came_to: Option<Smoked>,
}

/// Where passes ask, and see what came of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    made: Arc<Mutex<BTreeMap<Key, Made>>>,
    tickets: Arc<AtomicU64>,
    orders: mpsc::UnboundedSender<(Ticket, Order)>,
}

/// The other side of a [`Desk`].
#[derive(Debug)]
struct Orders(mpsc::UnboundedReceiver<(Ticket, Order)>);

impl Desk {
    /// A desk and where its orders come out.
    fn new() -> (Self, Orders) {
        let (orders, out) = mpsc::unbounded_channel();
        let desk = Self {
            made: Arc::default(),
            tickets: Arc::default(),
            orders,
        };
        (desk, Orders(out))
    }

    /// Asks, unless that was done.
    pub fn ask(&self, order: Order) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made
            .get(&order.key)
            .is_some_and(|made| made.run == order.run)
        {
            return;
        }
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let begun = Made {
            run: order.run.clone(),
            ticket,
            came_to: None,
        };
        made.insert(order.key.clone(), begun);
        // Without a receiver the daemon is ending.
        let _ = self.orders.send((ticket, order));
    }

    /// What the tests of a run came to.
    pub fn came_to(&self, key: &Key, run: &str) -> Option<Smoked> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.get(key).filter(|made| made.run == run)?;
        made.came_to.clone()
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.remove(key);
    }

    /// Forgets everything: another daemon may lead meanwhile. What still comes of these orders is not heard.
    pub fn forget_all(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.clear();
    }

    /// The order is to be given again, unless the Rollout has another one by now.
    fn again(&self, key: &Key, ticket: Ticket) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.get(key).is_some_and(|made| made.ticket == ticket) {
            made.remove(key);
        }
    }

    fn note(&self, key: &Key, ticket: Ticket, came_to: Smoked) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get_mut(key).filter(|made| made.ticket == ticket) {
            made.came_to = Some(came_to);
        }
    }
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// What a daemon makes them with.
pub struct Means {
    pub access: Access,
    pub poke: Poke,
    pub role: watch::Receiver<Role>,
    /// Told of each Rollout whose tests are made.
    pub touched: mpsc::UnboundedSender<Key>,
}

/// The tests, and where they are asked for.
#[derive(Debug)]
pub struct Smoke {
    folders: Vec<PathBuf>,
    tests: InForce,
    asker: Asker,
    desk: Desk,
    orders: Orders,
}

impl Smoke {
    /// The tests of these folders, or everything that is wrong with them.
    pub fn load(folders: Vec<PathBuf>, asker: Asker) -> Result<Self, Vec<String>> {
        let tests = InForce::load(&folders)?;
        let (desk, orders) = Desk::new();
        Ok(Self {
            folders,
            tests,
            asker,
            desk,
            orders,
        })
    }

    /// The tests in force.
    pub fn tests(&self) -> InForce {
        self.tests.clone()
    }

    /// Where passes ask.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Makes what is asked and what follows a sync, for ever.
    pub async fn keep_up(self, context: Context, means: Means) {
        let (clock, tests, asker) = (context.clock, self.tests, self.asker);
        let by = (asker.clone(), means.access.writes.clone(), clock);
        let asked = make(by, self.desk, self.orders, tests.clone(), means.touched);
        let files = tests.clone().keep_up(self.folders, clock);
        let tests = (tests, asker);
        let syncs = Syncs::new(context, means.access, tests, means.role, means.poke);
        futures::join!(asked, files, syncs.keep_up());
    }
}

/// Makes what is asked, for ever; each that is made touches its Rollout.
async fn make(
    (asker, client, clock): (Asker, kube::Client, Clock),
    desk: Desk,
    mut orders: Orders,
    tests: InForce,
    touched: mpsc::UnboundedSender<Key>,
) {
    let mut going = JoinSet::new();
    loop {
        let (ticket, order) = tokio::select! {
            Some(order) = orders.0.recv() => order,
            Some(_) = going.join_next() => continue,
            else => return,
        };
        let (desk, tests, touched) = (desk.clone(), tests.clone(), touched.clone());
        let (asker, client) = (asker.clone(), client.clone());
        going.spawn(async move {
            let by = (&asker, &client);
            let came_to = all(&order, &tests.now(), by, clock).await;
            let hindered = matches!(came_to, Smoked::Hindered { .. });
            desk.note(&order.key, ticket, came_to);
            let told = touched.send(order.key.clone()).is_ok();
            if hindered && told {
                clock.sleep(AGAIN).await;
                desk.again(&order.key, ticket);
                let _ = touched.send(order.key);
            }
        });
    }
}

/// Makes the tests in their order, until one fails.
async fn all(
    order: &Order,
    known: &Tests,
    (asker, client): (&Asker, &kube::Client),
    clock: Clock,
) -> Smoked {
    let mut passed = Vec::new();
    for name in &order.tests {
        let Some(test) = known.get(name) else {
            let why = unknown(name, known);
            return Smoked::Hindered { why };
        };
        if let Err(why) = test.is_for(&order.key.0) {
            let why = format!("smoke test {name} {why}");
            return Smoked::Hindered { why };
        }
        match crate::smoke::make(test, &order.words, (asker, client), clock).await {
            Ok(report) if report.passed => passed.push(report.to_string()),
            Ok(report) => {
                let sentence = report.to_string();
                return Smoked::Failed { sentence };
            }
            Err(why) => {
                let why = format!("smoke test {name}: {why}");
                return Smoked::Hindered { why };
            }
        }
    }
    Smoked::Passed {
        sentence: passed.join("; "),
    }
}

/// Says that no test has this name.
pub fn unknown(name: &str, known: &Tests) -> String {
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let known = names.join(", ");
    format!("there is no smoke test {name:?}; known: {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(run: &str) -> Order {
        Order {
            key: ("shop".to_owned(), "cart".to_owned()),
            run: run.to_owned(),
            tests: Vec::new(),
            words: Words::new(),
        }
    }

    fn failed() -> Smoked {
        Smoked::Failed {
            sentence: "no".to_owned(),
        }
    }

    #[test]
    fn what_was_found_before_another_daemon_led_is_not_heard_after_it() {
        let (desk, mut orders) = Desk::new();
        desk.ask(order("1"));
        let (before, Order { key, .. }) = orders.0.try_recv().unwrap();
        desk.note(&key, before, failed());
        assert_eq!(desk.came_to(&key, "1"), Some(failed()));
        desk.forget_all();
        assert_eq!(desk.came_to(&key, "1"), None);
        desk.ask(order("1"));
        desk.note(&key, before, failed());
        assert_eq!(desk.came_to(&key, "1"), None);
        let (after, _) = orders.0.try_recv().unwrap();
        desk.note(&key, after, failed());
        assert_eq!(desk.came_to(&key, "1"), Some(failed()));
    }

    #[tokio::test]
    async fn a_test_that_is_for_other_namespaces_is_not_made() {
        let text = "- {name: login, namespaces: [pay], tcp: {address: '{{service}}:80'}}\n";
        let tests = InForce::of(crate::smoke::file::read("t.yaml", text).unwrap());
        let nobody = |_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody asks"))
        };
        let client = kube::Client::new(tower::service_fn(nobody), "default");
        let good = Asker::with(|_| Box::pin(async { Ok(()) }));
        let clock = Clock::machine();
        for (namespace, passes) in [("pay", true), ("shop", false)] {
            let words = Words::from([("service", "cart".to_owned())]);
            let order = Order {
                key: (namespace.to_owned(), "cart".to_owned()),
                tests: vec!["login".to_owned()],
                words,
                ..order("1")
            };
            let came_to = all(&order, &tests.now(), (&good, &client), clock).await;
            assert_eq!(
                matches!(came_to, Smoked::Passed { .. }),
                passes,
                "{came_to:?}"
            );
            assert_eq!(matches!(came_to, Smoked::Hindered { .. }), !passes);
        }
    }

    #[test]
    fn a_hindered_test_that_is_tried_again_takes_nothing_from_a_newer_run() {
        let (desk, mut orders) = Desk::new();
        desk.ask(order("1"));
        let (first, Order { key, .. }) = orders.0.try_recv().unwrap();
        desk.ask(order("2"));
        let (second, _) = orders.0.try_recv().unwrap();
        desk.again(&key, first);
        desk.note(&key, second, failed());
        assert_eq!(desk.came_to(&key, "2"), Some(failed()));
        desk.again(&key, second);
        assert_eq!(desk.came_to(&key, "2"), None);
    }
}

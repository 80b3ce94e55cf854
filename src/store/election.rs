//! Who leads: contenders are ephemeral sequential nodes, the lowest number leads, the others wait.
//!
//! Leading means that every transaction can be made to depend on the contender's node ([`Lock::check`]), so that what
//! a deposed leader still sends cannot land. Knowing that one leads is only to know when to try: it ends with the
//! connection, well before ZooKeeper would give the lead to another, and is found again with the next one.

use futures_util::future;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle, time};
use tracing::{debug, info, warn};

use super::{Client, CommitError, Session, StoreError, Up, subtree::child};
use crate::tree::{layout, node::Node, txn::Op};

/// The pause after a failure that is not a lost connection.
const RETRY: time::Duration = time::Duration::from_secs(1);

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It does not, or does not know.
    Following {
        /// The leader's name, if there is one and it is known.
        leader: Option<String>,
    },
    /// It does, as long as [`Lock::check`] says so.
    Leading(Lock),
}

/// The proof of leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    path: String,
    epoch: u64,
}

impl Lock {
    /// The operation that goes first in every transaction of the leader: it fails once another may lead.
    pub fn check(&self) -> Op {
        Op::Check { path: self.path.clone(), version: 0 }
    }

    /// The contender's node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The session that the lead belongs to, as [`Up::epoch`] counts them.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A contender's document.
#[derive(Debug, Serialize, Deserialize)]
struct Contender {
    name: String,
}

/// A candidacy, for as long as this value lives and the session does.
#[derive(Debug)]
pub struct Election {
    leadership: watch::Receiver<Leadership>,
    task: JoinHandle<()>,
}

impl Election {
    /// Stands for election under `name` (as in `host:pid`), which must differ from every other contender's.
    pub fn start(session: &Session, name: String) -> Self {
        let (publish, leadership) = watch::channel(Leadership::Following { leader: None });
        let candidate = Candidate { session: session.clone(), name, publish, said: None };
        Self { leadership, task: tokio::spawn(candidate.run()) }
    }

    /// Whether this process leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Candidate {
    session: Session,
    name: String,
    publish: watch::Sender<Leadership>,
    /// The trouble last logged, which may last: once is enough.
    said: Option<String>,
}

/// A contender's node as it was read.
struct Seen {
    path: String,
    node: Node,
}

impl Candidate {
    async fn run(mut self) {
        let mut link = self.session.link();
        loop {
            let up = link.borrow_and_update().up().cloned();
            let changed = match up {
                Some(up) => tokio::select! {
                    biased;
                    changed = link.changed() => changed,
                    () = self.stand(&up) => continue,
                },
                None => link.changed().await,
            };
            self.announce(Leadership::Following { leader: None });
            if changed.is_err() {
                return;
            }
        }
    }

    /// Contends over one connection. Ends when something went wrong that may go right another time.
    async fn stand(&mut self, up: &Up) {
        loop {
            let Err(error) = self.round(up).await else { continue };
            self.announce(Leadership::Following { leader: None });
            let trouble = Some(error.to_string());
            if !matches!(error, StoreError::Disconnected) && self.said != trouble {
                warn!("cannot stand for election, trying again: {error}");
                self.said = trouble;
            }
            // A lost connection ends this sooner.
            return time::sleep(RETRY).await;
        }
    }

    /// Looks who leads, and waits until that may have changed.
    async fn round(&self, up: &Up) -> Result<(), StoreError> {
        let contenders = contenders(&up.client).await?;
        let Some(own) = self.own(up, &contenders).await? else { return Ok(()) };
        let ahead: Vec<&Seen> = contenders.iter().filter(|other| number(&other.path) < number(&own)).collect();
        // The node before ours, whose end may make us lead, and the leader's, whose name we tell; and our own.
        let mut watched = vec![own.as_str()];
        watched.extend(ahead.last().into_iter().chain(ahead.first()).map(|other| other.path.as_str()));
        watched.dedup();
        let pending = future::try_join_all(watched.iter().map(|path| up.client.watch_once(path))).await?;
        if pending.iter().any(|(exists, _)| !exists) {
            return Ok(());
        }
        self.announce(match ahead.first() {
            Some(leader) => Leadership::Following { leader: name_in(&leader.node) },
            None => Leadership::Leading(Lock { path: own.clone(), epoch: up.epoch }),
        });
        future::select_all(pending.into_iter().map(|(_, changed)| changed)).await;
        Ok(())
    }

    /// Our contender's path; `None` after creating it, when the others have to be looked at again. The answer to an
    /// earlier create may have been lost, so ours is known by its owner and name.
    async fn own(&self, up: &Up, contenders: &[Seen]) -> Result<Option<String>, StoreError> {
        let mut ours = contenders.iter().filter(|seen| {
            let nameless_or_ours = name_in(&seen.node).is_none_or(|name| name == self.name);
            seen.node.ephemeral_owner == up.session_id && nameless_or_ours
        });
        let first = ours.next();
        for surplus in ours.chain(first.filter(|first| first.node.version != 0)) {
            withdraw(&up.client, &surplus.path).await?;
        }
        match first {
            Some(own) if own.node.version == 0 => Ok(Some(own.path.clone())),
            Some(_) => Ok(None),
            None => self.contend(&up.client).await.map(|()| None),
        }
    }

    async fn contend(&self, client: &Client) -> Result<(), StoreError> {
        let data = serde_json::to_vec(&Contender { name: self.name.clone() }).unwrap_or_default();
        let prefix = child(layout::ELECTION, "c-");
        client.mkdirs(layout::ELECTION).await?;
        let path = client.create_contender(&prefix, &data).await?;
        debug!("standing for election as {path}");
        Ok(())
    }

    fn announce(&self, leadership: Leadership) {
        self.publish.send_if_modified(|current| {
            let changed = *current != leadership;
            if changed {
                match &leadership {
                    Leadership::Leading(lock) => info!("leading as {}", lock.path),
                    Leadership::Following { leader } => info!(?leader, "following"),
                }
                *current = leadership;
            }
            changed
        });
    }
}

/// All contenders, the leader first.
async fn contenders(client: &Client) -> Result<Vec<Seen>, StoreError> {
    let names = client.children(layout::ELECTION).await?.unwrap_or_default();
    let reads = names.iter().map(|name| async {
        let path = child(layout::ELECTION, name);
        let node = client.get(&path).await?;
        Ok::<_, StoreError>(node.map(|node| Seen { path, node }))
    });
    let mut contenders: Vec<Seen> = future::try_join_all(reads).await?.into_iter().flatten().collect();
    // Whatever else lies there must not keep the fleet without a leader for ever.
    contenders.retain(|seen| number(&seen.path).is_some() && seen.node.ephemeral_owner != 0);
    contenders.sort_by_key(|seen| number(&seen.path));
    Ok(contenders)
}

/// The number that ZooKeeper appended to a contender's name.
fn number(path: &str) -> Option<u64> {
    path.rsplit_once('-')?.1.parse().ok()
}

fn name_in(node: &Node) -> Option<String> {
    serde_json::from_slice::<Contender>(&node.data).ok().map(|contender| contender.name)
}

async fn withdraw(client: &Client, path: &str) -> Result<(), StoreError> {
    match client.commit(&[Op::Delete { path: path.to_owned(), version: None }]).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(CommitError::Other { path, source }) => Err(StoreError::Refused { what: format!("delete {path}"), source }),
        Err(_) => Err(StoreError::Disconnected),
    }
}

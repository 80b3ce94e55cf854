//! Writing: one transaction, refused while it is too large or there is no connection, and honest about an answer that
//! never came.

use std::time::Duration;

use zookeeper_client::{self as zk, Acls, CreateMode, CreateOptions};

use super::{Client, CommitError, Conflict, error::connection_lost};
use crate::{model::MAX_DOCUMENT_BYTES, tree::txn::Op};

/// The largest transaction sent, in bytes: ZooKeeper drops the connection at `jute.maxbuffer` (1 MiB by default),
/// and the client library would take that for a lost connection.
const MAX_TRANSACTION_BYTES: usize = 900 * 1024;

/// What a request adds to its path and data, at most.
const REQUEST_OVERHEAD: usize = 80;

const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const SEQUENTIAL: CreateOptions<'static> = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// What an operation of a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The check held, or the node is deleted.
    Done,
    /// The node was created.
    Created {
        /// Its path: for [`Op::CreateSequential`] with the number.
        path: String,
    },
    /// The data was set.
    Set {
        /// The node's version now.
        version: i32,
    },
}

impl Client {
    /// Carries out `ops` in one transaction: all of them or none.
    ///
    /// A future that is dropped before it is done may still take effect, as may one that ends as
    /// [`CommitError::Unknown`]: guard writes by versions.
    pub async fn commit(&self, ops: &[Op]) -> Result<Vec<OpResult>, CommitError> {
        refuse_large(ops)?;
        let zk = self.connection.request(zk::Client::clone).map_err(|_| CommitError::Disconnected)?;
        let mut states = zk.state_watcher();
        let mut writer = zk.new_multi_writer();
        for op in ops {
            add(&mut writer, op).map_err(|source| CommitError::Other { path: op.path().to_owned(), source })?;
        }
        if states.state() != zk::SessionState::SyncConnected {
            return Err(CommitError::Disconnected);
        }
        let unknown = |source| Err(CommitError::Unknown { source });
        tokio::select! {
            biased;
            answer = writer.commit() => answer.map(results).map_err(|error| failed(ops, error)),
            _ = states.changed() => unknown(zk::Error::ConnectionLoss),
            () = tokio::time::sleep(self.patience()) => unknown(zk::Error::Timeout),
        }
    }

    /// How long an answer may take: by then a server that does not answer has ended the connection anyway.
    fn patience(&self) -> Duration {
        self.connection.session_timeout().max(Duration::from_secs(1))
    }
}

/// ZooKeeper answers a packet that is too large by closing the connection, which looks like any other loss.
fn refuse_large(ops: &[Op]) -> Result<(), CommitError> {
    let mut total = 0;
    for op in ops {
        let bytes = op.data().len();
        total += bytes + op.path().len() + REQUEST_OVERHEAD;
        let too_large = |bytes| Err(CommitError::TooLarge { path: op.path().to_owned(), bytes });
        if bytes > MAX_DOCUMENT_BYTES {
            return too_large(bytes);
        }
        if total > MAX_TRANSACTION_BYTES {
            return too_large(total);
        }
    }
    Ok(())
}

fn add(writer: &mut zk::MultiWriter<'_>, op: &Op) -> Result<(), zk::Error> {
    match op {
        Op::Check { path, version } => writer.add_check_version(path, *version),
        Op::Create { path, data } => writer.add_create(path, data, &PERSISTENT),
        Op::CreateSequential { prefix, data } => writer.add_create(prefix, data, &SEQUENTIAL),
        Op::CreateEphemeral { path, data } => writer.add_create(path, data, &EPHEMERAL),
        Op::Set { path, data, version } => writer.add_set_data(path, data, *version),
        Op::Delete { path, version } => writer.add_delete(path, *version),
    }
}

fn results(answers: Vec<zk::MultiWriteResult>) -> Vec<OpResult> {
    answers
        .into_iter()
        .map(|answer| match answer {
            // The Stat of a create in a transaction is not to be relied on before ZooKeeper 3.8.2 (ZOOKEEPER-4026).
            zk::MultiWriteResult::Create { path, .. } => OpResult::Created { path },
            zk::MultiWriteResult::SetData { stat } => OpResult::Set { version: stat.version },
            _ => OpResult::Done,
        })
        .collect()
}

fn failed(ops: &[Op], error: zk::MultiWriteError) -> CommitError {
    let (index, source) = match error {
        zk::MultiWriteError::RequestFailed { source } if connection_lost(&source) => {
            return CommitError::Unknown { source };
        }
        zk::MultiWriteError::RequestFailed { source } => (0, source),
        zk::MultiWriteError::OperationFailed { index, source } => (index, source),
    };
    let path = ops.get(index).map_or("", Op::path).to_owned();
    match Conflict::of(&source) {
        Some(cause) => CommitError::Conflict { index, path, cause },
        None => CommitError::Other { path, source },
    }
}

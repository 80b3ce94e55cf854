//! One attempt at a time for each version of a service.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

use crate::model::ServiceName;

type Key = (ServiceName, String);
type Lock = tokio::sync::Mutex<()>;

/// The locks that are held or waited for; no others are kept.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<BTreeMap<Key, Weak<Lock>>>);

impl Locks {
    /// Waits until nobody else works on this version.
    pub(super) async fn lock(&self, service: &ServiceName, version: &str) -> OwnedMutexGuard<()> {
        self.get(service, version).lock_owned().await
    }

    /// Whether someone works on this version.
    pub(super) fn is_held(&self, service: &ServiceName, version: &str) -> bool {
        let locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(&(service.clone(), version.to_owned())).is_some_and(|lock| lock.strong_count() > 0)
    }

    fn get(&self, service: &ServiceName, version: &str) -> Arc<Lock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let place = locks.entry((service.clone(), version.to_owned())).or_default();
        place.upgrade().unwrap_or_else(|| {
            let lock = Arc::new(Lock::default());
            *place = Arc::downgrade(&lock);
            lock
        })
    }
}

//! `zkops init`: the nodes that everything else stands on.

use super::{Client, StoreError};
use crate::tree::layout::ROOTS;

/// Creates the connection string's chroot and the tree's roots, as far as they are missing. Returns the paths of
/// what it created, in all of ZooKeeper; none when there was nothing to do.
pub async fn init(client: &Client) -> Result<Vec<String>, StoreError> {
    let mut made = client.make_chroot().await?;
    for root in ROOTS {
        made.extend(client.mkdirs(root).await?.iter().map(|path| format!("{}{path}", client.chroot())));
    }
    Ok(made)
}

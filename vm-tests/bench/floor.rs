//! The floor that `make bench` measures zkops against: the least that "desired → active" can cost with the same
//! libraries. One process relays a write (`relay`: watch A, read it, write B), another starts a unit (`start`: watch B,
//! read it, `StartUnit`, wait for its `JobRemoved`). No placement, no guard, no status, no memory.

use std::error::Error;

use futures_util::StreamExt as _;
use zbus::{OwnedObjectPath, proxy};
use zookeeper_client::{AddWatchMode, Client, EventType};

const ASKED: &str = "/floor/asked";
const RELAYED: &str = "/floor/relayed";

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["relay", servers] => relay(servers).await,
        ["start", servers, unit] => start(servers, unit).await,
        _ => Err("usage: floor relay SERVERS | floor start SERVERS UNIT".into()),
    }
}

async fn relay(servers: &str) -> Outcome {
    let client = Client::connect(servers).await?;
    let mut watcher = client.watch(ASKED, AddWatchMode::Persistent).await?;
    println!("ready");
    while watcher.changed().await.event_type == EventType::NodeDataChanged {
        let (data, _) = client.get_data(ASKED).await?;
        client.set_data(RELAYED, &data, None).await?;
    }
    Err("the connection was lost".into())
}

async fn start(servers: &str, unit: &str) -> Outcome {
    let client = Client::connect(servers).await?;
    let bus = zbus::Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    let mut removed = manager.receive_job_removed().await?;
    manager.subscribe().await?;
    let mut watcher = client.watch(RELAYED, AddWatchMode::Persistent).await?;
    println!("ready");
    while watcher.changed().await.event_type == EventType::NodeDataChanged {
        client.get_data(RELAYED).await?;
        let job = manager.start_unit(unit, "replace").await?;
        while let Some(signal) = removed.next().await {
            if signal.args()?.job == job {
                break;
            }
        }
    }
    Err("the connection was lost".into())
}

//! The floor that `make bench` measures zkops against: the least that "desired → active" can cost with the same
//! libraries. One process relays a write (`relay`: watch A, read it, write B), another starts a unit (`start`: watch B,
//! read it, `StartUnit`, wait for its `JobRemoved`). No placement, no guard, no status, no memory.
//!
//! For rollouts the floor is one replica's own stop, start and probe (`roll`).

use std::{
    error::Error,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

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
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
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
        ["roll", unit, port, rounds, pause] => roll(unit, port.parse()?, rounds.parse()?, pause.parse()?).await,
        _ => Err("usage: floor relay SERVERS | start SERVERS UNIT | roll UNIT PORT ROUNDS PAUSE_MS".into()),
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
        ended(&mut removed, &job).await?;
    }
    Err("the connection was lost".into())
}

async fn ended(removed: &mut JobRemovedStream, job: &OwnedObjectPath) -> Outcome {
    while let Some(signal) = removed.next().await {
        if signal.args()?.job == *job {
            return Ok(());
        }
    }
    Err("the bus was lost".into())
}

/// Stops the unit, starts it and asks it until it answers; prints how long that took, in milliseconds, each time. Counted
/// from when the pause was to be over: a timer may be late for anyone.
async fn roll(unit: &str, port: u16, rounds: u32, pause: u64) -> Outcome {
    let bus = zbus::Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    let mut removed = manager.receive_job_removed().await?;
    manager.subscribe().await?;
    for _ in 0..rounds {
        let due = Instant::now() + Duration::from_millis(pause);
        tokio::time::sleep_until(due.into()).await;
        let job = manager.stop_unit(unit, "replace").await?;
        ended(&mut removed, &job).await?;
        let job = manager.start_unit(unit, "replace").await?;
        ended(&mut removed, &job).await?;
        while !answers(port) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("{:.3}", due.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(())
}

fn answers(port: u16) -> bool {
    let ask = || {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        server.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut answer = [0; 12];
        server.read_exact(&mut answer).map(|()| answer)
    };
    ask().is_ok_and(|answer: [u8; 12]| answer.ends_with(b" 200"))
}

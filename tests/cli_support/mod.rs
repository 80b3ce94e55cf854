//! A real ZooKeeper for the command's tests, and the controller's side of the documents, written by hand.
#![allow(dead_code)]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::runtime::Builder;
use zkops::{
    store::{Client, SessionConfig, connect_once},
    tree::txn::Op,
};

/// Ends with the test process: the shell's `read` returns when the pipe to it closes, and takes the JVM along.
const GUARD: &str =
    r#"java -Xmx96m -cp "$0" org.apache.zookeeper.server.quorum.QuorumPeerMain "$1" >"$2" 2>&1 & read -r _; kill $!"#;
const JARS: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";

/// One server for all tests of this process; each has its own chroot.
struct Server {
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _guard: Child,
}

fn server() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start).address
}

fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let data = path("data");
    // As many connections of one address as ZooKeeper allows unless it is told otherwise: 60.
    let config = format!(
        "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
        data.display()
    );
    fs::write(path("zoo.cfg"), config).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", GUARD, JARS]).arg(path("zoo.cfg")).arg(path("log")).stdin(Stdio::piped());
    let guard = shell.spawn().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let patience = Instant::now() + Duration::from_secs(30);
    // It accepts connections before it serves sessions.
    while !serves(address) {
        let log = fs::read_to_string(path("log")).unwrap_or_default();
        assert!(Instant::now() < patience, "ZooKeeper does not come up:\n{log}");
        thread::sleep(Duration::from_millis(50));
    }
    Server { address, _folder: folder, _guard: guard }
}

fn serves(address: SocketAddr) -> bool {
    let config = SessionConfig { servers: address.to_string(), session_timeout: Duration::from_secs(10) };
    Builder::new_current_thread().enable_all().build().unwrap().block_on(connect_once(config)).is_ok()
}

/// A tree of its own.
pub(crate) struct Tree {
    servers: String,
}

impl Tree {
    /// An empty chroot.
    pub(crate) fn empty(name: &str) -> Self {
        Self { servers: format!("{}/{name}", server()) }
    }

    /// Does something over a connection of its own: nothing would keep one alive between calls.
    fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> T) -> T {
        let config = SessionConfig { servers: self.servers.clone(), session_timeout: Duration::from_secs(10) };
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let client = connect_once(config).await.unwrap();
            work(&client).await
        })
    }

    /// With the roots of `zkops init`.
    pub(crate) fn new(name: &str) -> Self {
        let tree = Self::empty(name);
        tree.zkops(&["init"]).assert().success();
        tree
    }

    /// The command, on this tree.
    pub(crate) fn zkops(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_zkops"));
        command.args(args).env("ZKOPS_ZOOKEEPER", &self.servers).env("NO_COLOR", "1").timeout(Duration::from_secs(60));
        command
    }

    /// The command, on this tree by way of these servers before its own, whichever serves.
    pub(crate) fn zkops_beside(&self, servers: &str, args: &[&str]) -> assert_cmd::Command {
        let mut command = self.zkops(args);
        command.env("ZKOPS_ZOOKEEPER", format!("{servers},{}", self.servers));
        command
    }

    /// What the command prints, and how many bytes ZooKeeper sends for it.
    pub(crate) fn cost(&self, args: &[&str]) -> (String, usize) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (server, chroot) = self.servers.split_once('/').unwrap();
        let (servers, server) = (format!("{}/{chroot}", listener.local_addr().unwrap()), server.to_owned());
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming() {
                relay(client.unwrap(), TcpStream::connect(&server).unwrap(), Arc::clone(&count));
            }
        });
        let printed = self.zkops(args).env("ZKOPS_ZOOKEEPER", servers).assert().success().get_output().stdout.clone();
        (String::from_utf8(printed).unwrap(), sent.load(Ordering::SeqCst))
    }

    /// The command, on this tree, to be talked to while it runs.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkops"));
        command.args(args).env("ZKOPS_ZOOKEEPER", &self.servers).env("NO_COLOR", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Another program, which runs the command on this tree, to be talked to while it runs.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(args).env("ZKOPS_ZOOKEEPER", &self.servers).env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a shell line in which `zkops` is the command.
    pub(crate) fn shell(&self, line: &str) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new("sh");
        let line = format!("zkops() {{ {} \"$@\"; }}\n{line}", env!("CARGO_BIN_EXE_zkops"));
        command.args(["-c", &line]).env("ZKOPS_ZOOKEEPER", &self.servers);
        command
    }

    /// Writes a document, whatever was there, creating what is above it.
    pub(crate) fn put(&self, path: &str, document: &Value) {
        self.put_raw(path, &document.to_string());
    }

    /// Writes data, whatever was there, creating what is above it.
    pub(crate) fn put_raw(&self, path: &str, data: &str) {
        let op = Op::Set { path: path.to_owned(), data: data.into(), version: None };
        self.with(async |client| {
            client.mkdirs(path).await.unwrap();
            client.commit(&[op]).await.unwrap();
        });
    }

    /// Removes one node.
    pub(crate) fn remove(&self, path: &str) {
        let op = Op::Delete { path: path.to_owned(), version: None };
        self.with(async |client| client.commit(&[op]).await.unwrap());
    }

    /// A document and its node's version.
    pub(crate) fn get(&self, path: &str) -> Option<(Value, i32)> {
        let node = self.with(async |client| client.get(path).await.unwrap())?;
        Some((serde_json::from_slice(&node.data).unwrap_or_default(), node.version))
    }

    /// A document that must be there.
    pub(crate) fn document(&self, path: &str) -> Value {
        self.get(path).unwrap_or_else(|| panic!("no {path}")).0
    }

    /// What `zkops ARGS -o json` prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.zkops(&[args, &["-o", "json"]].concat()).assert().success().get_output().stdout.clone();
        serde_json::from_slice(&output).unwrap()
    }
}

/// Brings one side's bytes to the other, and counts those of the server.
fn relay(mut client: TcpStream, mut server: TcpStream, count: Arc<AtomicUsize>) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write)));
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            count.fetch_add(read, Ordering::SeqCst);
            if client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
    });
}

//! A real Apache ZooKeeper, from Debian's jar, as long as the test process lives.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const JAR: &str = "/usr/share/java/zookeeper.jar";
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";

/// A shell waits for the end of its input, which is the end of the test process in whatever way it ends, and takes
/// the server and its files with it.
const KEEPER: &str = r#"dir=$1; keep=$2; shift 2
"$@" >>"$dir/log" 2>&1 & server=$!
read -r _
kill -9 $server; wait $server 2>/dev/null
[ "$keep" = keep ] || rm -rf "$dir""#;

/// A standalone server on 127.0.0.1.
pub struct ZooKeeper {
    dir: TempDir,
    port: u16,
    running: Option<(Child, ChildStdin)>,
}

impl ZooKeeper {
    /// The server that all tests of a binary share, each in a chroot of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ZooKeeper> = OnceLock::new();
        SHARED.get_or_init(|| Self::launch("remove"))
    }

    /// A server that a test can stop.
    pub fn start() -> Self {
        Self::launch("keep")
    }

    fn launch(files: &str) -> Self {
        assert!(
            Path::new(JAR).exists(),
            "{JAR} is missing: these tests need a real ZooKeeper. \
             Install Debian's packages `libzookeeper-java` and `default-jre-headless` (or `zookeeper`)."
        );
        let dir = tempfile::Builder::new().prefix("zkops-zookeeper-").tempdir().unwrap();
        let port = super::free_port().local_addr().unwrap().port();
        fs::write(dir.path().join("zoo.cfg"), configuration(dir.path(), port)).unwrap();
        let mut server = Self { dir, port, running: None };
        server.resume_keeping(files);
        server
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As a power loss: nothing is told to anyone.
    pub fn kill(&mut self) {
        if let Some((mut keeper, input)) = self.running.take() {
            drop(input);
            keeper.wait().unwrap();
        }
    }

    /// Starts it again with what it had on disk.
    pub fn resume(&mut self) {
        self.resume_keeping("keep");
    }

    fn resume_keeping(&mut self, files: &str) {
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(self.dir.path())
            .arg(files)
            .args([
                "java",
                "-Xmx160m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &format!("{JAR}:{LOGGER}"),
            ])
            // A test's data is worth no disk flush.
            .args(["-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=1024"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "org.apache.zookeeper.server.ZooKeeperServerMain"])
            .arg(self.dir.path().join("zoo.cfg"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("cannot run java: install Debian's package `default-jre-headless`");
        let input = keeper.stdin.take().unwrap();
        self.running = Some((keeper, input));
        self.wait_until_serving();
    }

    fn wait_until_serving(&self) {
        let start = Instant::now();
        while !self.command("srvr").contains("Mode:") {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(90), "ZooKeeper does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The answer to one of ZooKeeper's four-letter words; empty when there is none.
    pub fn command(&self, word: &str) -> String {
        let mut answer = String::new();
        let _ = TcpStream::connect(self.address()).and_then(|mut stream| {
            // A server that is still starting may fail to answer and keep the connection.
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(word.as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        answer
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Short ticks make short sessions possible: the shortest is two ticks, and expiry is as exact as a tick.
fn configuration(dir: &Path, port: u16) -> String {
    format!(
        "tickTime=200\nmaxSessionTimeout=60000\nmaxClientCnxns=0\ndataDir={}\nclientPort={port}\n\
         clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
        dir.join("data").display()
    )
}

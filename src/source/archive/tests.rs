//! Archives from a small real server that can misbehave.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    blocking::Loop,
    model::{ArchiveSource, HostName, ReplicaId, Source, UnitName},
    source::{SourceError, Sources, Wanted, text::Architecture},
};

/// What the server answers with to a path: head and body as they are; then it closes, or stays silent.
#[derive(Clone)]
struct Answer {
    head: String,
    body: Vec<u8>,
    silent: bool,
}

impl Answer {
    fn ok(body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
        Self { head, body: body.to_owned(), silent: false }
    }

    fn status(status: &str) -> Self {
        Self { head: format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"), body: Vec::new(), silent: false }
    }
}

struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answers: &[(&str, Answer)]) -> Self {
        let answers: BTreeMap<String, Answer> =
            answers.iter().map(|(path, a)| ((*path).to_owned(), a.clone())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, count) = (answers.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap_or(b'\n'));
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let request = String::from_utf8(request).unwrap();
                    let path = request.split([' ', '?']).nth(1).unwrap();
                    let answer = answers.get(path).cloned().unwrap_or_else(|| Answer::status("404 Not Found"));
                    let head = format!("{}Connection: close\r\n\r\n", answer.head);
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&answer.body).await;
                    if answer.silent {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://user:secret@{}{path}", self.address)
    }
}

/// One member of an archive.
struct Member(&'static str, EntryType, &'static str, u32);

fn file(path: &'static str, content: &'static str) -> Member {
    Member(path, EntryType::Regular, content, 0o644)
}

/// A tar archive with whatever names are given, which tar's own builder would refuse.
fn tar(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Member(path, kind, content, mode) in members {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let is_link = kind.is_symlink() || kind.is_hard_link();
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        let body = if is_link { "" } else { content };
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A host with one replica of `webapp`.
struct Host {
    dir: TempDir,
    sources: Sources,
    id: ReplicaId,
    unit: UnitName,
    name: HostName,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources::with_stall(dir.path(), Duration::from_millis(300));
        let unit = "webapp@0000000001.service".parse().unwrap();
        Self { dir, sources, id: "webapp.0000000001".parse().unwrap(), unit, name: "web1".parse().unwrap() }
    }

    fn wanted<'a>(&'a self, source: &'a Source, version: &'a str) -> Wanted<'a> {
        Wanted { id: &self.id, unit: &self.unit, source, version, host: &self.name }
    }

    async fn fetch(&self, source: &Source, version: &str) -> Result<(), SourceError> {
        self.sources.fetch(&self.wanted(source, version)).await
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("releases/webapp").join(path)
    }

    /// What is in the service's folder.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn source(url: String, sums: &[(&str, String)]) -> Source {
    let sha256 = sums.iter().map(|(version, sum)| ((*version).to_owned(), sum.clone())).collect();
    let archive = ArchiveSource { url, sha256, sha256_url: None, minisign_key: None, strip_components: 0 };
    Source { archive: Some(archive), ..Source::default() }
}

/// Fetches v1 of an archive that is this.
async fn unpacked(archive: &[u8], strip: u32) -> (Host, Result<(), SourceError>) {
    let server = Server::start(&[("/v1.tar", Answer::ok(archive))]).await;
    let mut source = source(server.url("/{version}.tar"), &[("v1", sum(archive))]);
    source.archive.as_mut().unwrap().strip_components = strip;
    let host = Host::new();
    let result = host.fetch(&source, "v1").await;
    (host, result)
}

#[tokio::test]
async fn a_release_is_fetched_switched_to_and_pruned() {
    let plain =
        tar(&[Member("bin/", EntryType::Directory, "", 0o555), Member("bin/app", EntryType::Regular, "one", 0o6777)]);
    let packed = [gz(&plain), zstd::encode_all(&plain[..], 1).unwrap(), plain];
    let answers: Vec<_> = packed.iter().map(|bytes| Answer::ok(bytes)).collect();
    let server =
        Server::start(&[("/v1", answers[0].clone()), ("/v2", answers[1].clone()), ("/v3", answers[2].clone())]).await;
    let sums: Vec<_> =
        ["v1", "v2", "v3"].into_iter().zip(packed.iter().map(|bytes| sum(bytes).to_uppercase())).collect();
    let source = source(server.url("/{version}"), &sums);
    let host = Host::new();
    for version in ["v1", "v2", "v3"] {
        let wanted = host.wanted(&source, version);
        assert!(!host.sources.is_fetched(&wanted) && !host.sources.is_current(&wanted));
        host.sources.fetch(&wanted).await.unwrap();
        assert!(host.sources.is_fetched(&wanted) && !host.sources.is_current(&wanted));
        host.sources.switch(&wanted).await.unwrap();
        assert!(host.sources.is_current(&wanted));
        assert_eq!(fs::read_to_string(host.path("current@0000000001/bin/app")).unwrap(), "one");
    }
    assert_eq!(host.sources.release_dir(&host.id.service, &source, "v3"), Some(host.path("v3")));
    let app = host.path("v1/bin/app").metadata().unwrap();
    assert_eq!(app.permissions().mode() & 0o7777, 0o755);
    fs::write(host.path(".download-v9"), "half").unwrap();
    host.sources.prune(&host.id.service, &["v1".to_owned()].into(), 0).await;
    assert_eq!(host.names(), ["current@0000000001", "v1", "v3"]);
    host.sources.unlink(vec![(host.id.service.clone(), host.unit.clone())]).await;
    host.sources.prune(&host.id.service, &BTreeSet::new(), 1).await;
    assert_eq!(host.names(), ["v3"]);
}

#[tokio::test]
async fn a_fetched_release_is_not_fetched_again_and_two_replicas_share_an_attempt() {
    let archive = gz(&tar(&[file("app", "one")]));
    let server = Server::start(&[("/v1", Answer::ok(&archive))]).await;
    let source = source(server.url("/{version}"), &[("v1", sum(&archive))]);
    let host = Host::new();
    let (first, second) = tokio::join!(host.fetch(&source, "v1"), host.fetch(&source, "v1"));
    assert_eq!((first, second, host.fetch(&source, "v1").await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn servers_that_fail_leave_nothing_behind() {
    let archive = gz(&tar(&[file("app", "one")]));
    let truncated = Answer { body: archive[..archive.len() / 2].to_owned(), ..Answer::ok(&archive) };
    let unframed = Answer { head: "HTTP/1.1 200 OK\r\n".into(), ..truncated.clone() };
    let stalled = Answer { silent: true, ..truncated.clone() };
    let mute = Answer { head: String::new(), body: Vec::new(), silent: true };
    let chunked = Answer {
        head: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".into(),
        body: b"3\r\nabc\r\n9\r\nde".to_vec(),
        silent: false,
    };
    let here =
        |place: &str| Answer { head: format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\n"), ..Answer::status("") };
    let good = Answer::ok(&archive);
    let cases = [
        ("good", good.clone(), None),
        ("here", here("/good"), None),
        ("loop", here("/loop"), Some((false, "too many redirects"))),
        ("wrong", Answer::ok(b"something else"), Some((true, "wrong checksum"))),
        ("truncated", truncated, Some((false, ""))),
        ("unframed", unframed, Some((false, "wrong checksum"))),
        ("chunked", chunked, Some((false, ""))),
        ("stalled", stalled, Some((false, "nothing came for 300ms"))),
        ("mute", mute, Some((false, ""))),
        ("500", Answer::status("500 Oops"), Some((false, "500"))),
        ("429", Answer::status("429 Slow Down"), Some((false, "429"))),
        ("404", Answer::status("404 Not Found"), Some((true, "404"))),
        ("410", Answer::status("410 Gone"), Some((true, "410"))),
    ];
    let paths: Vec<_> = cases.iter().map(|(name, answer, _)| (format!("/{name}"), answer.clone())).collect();
    let server = Server::start(&paths.iter().map(|(path, a)| (path.as_str(), a.clone())).collect::<Vec<_>>()).await;
    for (name, _, expected) in cases {
        let host = Host::new();
        let source = source(server.url("/{version}?token=secret"), &[(name, sum(&archive))]);
        let result = host.fetch(&source, name).await;
        match expected {
            None => assert_eq!((result, host.names()), (Ok(()), vec![name.to_owned()]), "{name}"),
            Some((rejected, words)) => {
                let error = result.unwrap_err();
                assert!(error.rejected == rejected && error.message.contains(words), "{name}: {error:?}");
                assert!(!error.message.contains("secret") && host.names().is_empty(), "{name}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let host = Host::new();
    let error = host.fetch(&source(format!("http://{nobody}/x"), &[("v1", sum(b""))]), "v1").await.unwrap_err();
    assert!(!error.rejected && error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn one_attempt_may_take_so_long() {
    // A byte now and then: never stalled, never done.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let host = Host::new();
    let timeout = Some(crate::model::Span::from_millis(600));
    let source = Source { timeout, ..source(url, &[("v1", sum(b""))]) };
    let error = host.fetch(&source, "v1").await.unwrap_err();
    assert!(!error.rejected && error.message.contains("not there within 600ms"), "{error}");
    assert!(host.names().is_empty());
}

#[tokio::test]
async fn what_verifies_an_archive_may_be_on_the_server() {
    let archive = gz(&tar(&[file("app", "one")]));
    let list = format!("{}  other\n{} *v1.tgz\n", sum(b"other"), sum(&archive));
    let server = Server::start(&[
        ("/v1.tgz", Answer::ok(&archive)),
        ("/v2.tgz", Answer::ok(&archive)),
        ("/v1.sums", Answer::ok(list.as_bytes())),
        ("/v2.sums", Answer::ok(list.as_bytes())),
    ])
    .await;
    let mut source = source(server.url("/{version}.tgz"), &[]);
    let host = Host::new();
    let unverified = host.fetch(&source, "v1").await.unwrap_err();
    assert!(unverified.rejected && unverified.message.contains("source.archive.sha256.\"v1\""), "{unverified}");
    source.archive.as_mut().unwrap().sha256_url = Some(server.url("/{version}.sums"));
    assert_eq!(host.fetch(&source, "v1").await, Ok(()));
    let unlisted = host.fetch(&source, "v2").await.unwrap_err();
    assert!(unlisted.rejected && unlisted.message.contains("v2.tgz"), "{unlisted}");
    source.archive.as_mut().unwrap().sha256_url = Some(server.url("/nothing"));
    assert!(host.fetch(&source, "v3").await.unwrap_err().rejected);
}

/// Its file is made, and removed, on a disk that may hang; certificates are on another.
#[tokio::test]
async fn an_archive_is_fetched_beside_the_loop() {
    let _loop = Loop::begin();
    let archive = tar(&[file("app", "one")]);
    let server = Server::start(&[("/v1.tar", Answer::ok(&archive)), ("/v2.tar", Answer::ok(b"?"))]).await;
    let (host, source) = (Host::new(), source(server.url("/{version}.tar"), &["v1", "v2"].map(|v| (v, sum(&archive)))));
    assert_eq!(host.fetch(&source, "v1").await, Ok(()));
    assert!(host.fetch(&source, "v2").await.unwrap_err().rejected);
    assert_eq!(host.names(), ["v1"]);
}

/// The other would be refused: it is another archive's.
#[tokio::test]
async fn the_checksum_for_this_architecture_comes_before_the_one_for_all() {
    let archive = tar(&[file("app", "one")]);
    let (good, bad) = (sum(&archive), sum(b"another architecture's"));
    let server = Server::start(&[("/v1.tar", Answer::ok(&archive))]).await;
    let fetched = async |sums: &[(&str, String)]| Host::new().fetch(&source(server.url("/v1.tar"), sums), "v1").await;
    for name in Architecture::of_this_machine().names() {
        let own = format!("v1/{name}");
        assert_eq!(fetched(&[(&own, good.clone()), ("v1", bad.clone())]).await, Ok(()), "{own}");
        let wrong = fetched(&[(&own, bad.clone()), ("v1", good.clone())]).await.unwrap_err();
        assert!(wrong.rejected && wrong.message.contains("wrong checksum"), "{own}: {wrong}");
    }
    assert_eq!(fetched(&[("v1/no-such", bad.clone()), ("v1", good.clone())]).await, Ok(()), "the one for all");
    let of_none = fetched(&[("v1/no-such", good.clone()), ("v2", good)]).await.unwrap_err();
    assert!(of_none.rejected && of_none.message.contains("nothing would verify the archive of v1"), "{of_none}");
}

#[tokio::test]
async fn leading_folders_are_stripped_also_from_links() {
    let archive = tar(&[
        Member("pax_global_header", EntryType::XGlobalHeader, "", 0o644),
        Member("./app-1/", EntryType::Directory, "", 0o755),
        file("app-1/bin/app", "one"),
        Member("app-1/bin/hard", EntryType::Link, "app-1/bin/app", 0o644),
        Member("app-1/lib64", EntryType::Symlink, "bin", 0o777),
        file("app-1/lib64/more", "two"),
        Member("app-1/python", EntryType::Symlink, "/usr/bin/python3", 0o777),
        file("README", "left out"),
    ]);
    let (host, result) = unpacked(&archive, 1).await;
    assert_eq!(result, Ok(()));
    for (path, content) in [("bin/app", "one"), ("bin/hard", "one"), ("bin/more", "two")] {
        assert_eq!(fs::read_to_string(host.path("v1").join(path)).unwrap(), content, "{path}");
    }
    assert_eq!(fs::read_link(host.path("v1/python")).unwrap(), std::path::Path::new("/usr/bin/python3"));
    assert!(!host.path("v1/README").exists());
    let (_, result) = unpacked(&archive, 3).await;
    assert!(result.unwrap_err().message.contains("strip_components = 3"));
}

#[tokio::test]
async fn unsafe_archives_are_rejected() {
    let symlink = |path, target| Member(path, EntryType::Symlink, target, 0o777);
    let cases = [
        (vec![file("../evil", "x")], "'..'"),
        (vec![file("a/../../evil", "x")], "'..'"),
        (vec![file("/evil", "x")], "absolute"),
        (vec![symlink("out", ".."), file("out/evil", "x")], "leads outside"),
        (vec![symlink("out", "/tmp"), file("out/evil", "x")], "leads outside"),
        (vec![symlink("out", "/no/such"), Member("out/d/", EntryType::Directory, "", 0o755)], "link to nothing"),
        (vec![symlink("a", "b"), symlink("b", ".."), file("a/evil", "x")], "leads outside"),
        (vec![symlink("evil", "/etc/passwd"), Member("hard", EntryType::Link, "../evil", 0o644)], "'..'"),
        (vec![Member("hard", EntryType::Link, "/etc/passwd", 0o644)], "absolute"),
        (vec![symlink("etc", "/etc"), Member("hard", EntryType::Link, "etc/passwd", 0o644)], "leads outside"),
        (vec![Member("hard", EntryType::Link, "nothing", 0o644)], "not in the archive"),
        (vec![Member("null", EntryType::Char, "", 0o666)], "special kind"),
        (vec![Member("sda", EntryType::Block, "", 0o666)], "special kind"),
        (vec![Member("pipe", EntryType::Fifo, "", 0o666)], "special kind"),
        (vec![file("a", "x"), file("a/b", "x")], "no folder"),
        (vec![], "holds nothing"),
    ];
    for (members, words) in cases {
        let (host, result) = unpacked(&tar(&members), 0).await;
        let error = result.unwrap_err();
        assert!(error.rejected && error.message.contains(words), "{words}: {error}");
        assert!(host.names().is_empty(), "{words}: {:?}", host.names());
        assert!(!host.dir.path().join("evil").exists() && !host.path("evil").exists());
    }
}

#[tokio::test]
async fn a_member_replaces_a_link_instead_of_writing_through_it() {
    let symlink = Member("app", EntryType::Symlink, "/etc/zkops-evil", 0o777);
    let (host, result) = unpacked(&tar(&[symlink, file("app", "one")]), 0).await;
    assert_eq!(result, Ok(()));
    assert!(host.path("v1/app").symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn what_is_no_archive_is_rejected() {
    let whole = gz(&tar(&[file("app", &*"x".repeat(5000).leak())]));
    let mut broken = whole.clone();
    broken.truncate(whole.len() / 2);
    let cases: [(&[u8], &str); 6] = [
        (b"", "holds nothing"),
        (b"<html>not found</html>", "bad archive"),
        (b"PK\x03\x04", "a zip file"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"\x28\xb5\x2f\xfdrubbish", "bad archive"),
        (&broken, "bad archive"),
    ];
    for (bytes, words) in cases {
        let (host, result) = unpacked(bytes, 0).await;
        let error = result.unwrap_err();
        assert!(error.rejected && error.message.contains(words), "{words}: {error}");
        assert!(host.names().is_empty());
    }
}

#[tokio::test]
async fn versions_that_are_no_folder_names_are_rejected() {
    let host = Host::new();
    for version in ["", "../../etc", "a/b", ".hidden", "current", "current@0000000001", "a\nb", &"x".repeat(201)] {
        let source = source("http://127.0.0.1:9/".into(), &[(version, sum(b""))]);
        assert!(host.fetch(&source, version).await.unwrap_err().rejected, "{version}");
        assert_eq!(host.sources.release_dir(&host.id.service, &source, version), None);
    }
}

#[tokio::test]
async fn what_a_crash_left_does_not_hinder_and_never_looks_whole() {
    let archive = gz(&tar(&[file("app", "one")]));
    let server = Server::start(&[("/v1", Answer::ok(&archive))]).await;
    let source = source(server.url("/{version}"), &[("v1", sum(&archive))]);
    let host = Host::new();
    fs::create_dir_all(host.path(".new-v1/app/half")).unwrap();
    fs::write(host.path(".download-v1"), "half").unwrap();
    fs::write(host.path(".current@0000000001.new"), "half").unwrap();
    assert!(!host.sources.is_fetched(&host.wanted(&source, "v1")));
    assert_eq!(host.fetch(&source, "v1").await, Ok(()));
    host.sources.switch(&host.wanted(&source, "v1")).await.unwrap();
    assert_eq!(host.names(), ["current@0000000001", "v1"]);
}

#[tokio::test]
async fn a_folder_that_cant_be_made_may_be_fixed() {
    let host = Host::new();
    fs::write(host.dir.path().join("releases"), "in the way").unwrap();
    let source = source("http://127.0.0.1:9/".into(), &[("v1", sum(b""))]);
    let error = host.fetch(&source, "v1").await.unwrap_err();
    assert!(!error.rejected && error.message.contains("releases/webapp"), "{error}");
    assert!(!host.sources.switch(&host.wanted(&source, "v1")).await.unwrap_err().rejected);
    host.sources.prune(&host.id.service, &BTreeSet::new(), 1).await;
}

/// minisign's own example: the signature of a file that holds `test`.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";

#[tokio::test]
async fn signatures_are_verified() {
    let server = Server::start(&[
        ("/signed/test", Answer::ok(b"test")),
        ("/signed/test.minisig", Answer::ok(SIGNATURE.as_bytes())),
        ("/older", Answer::ok(b"test")),
        ("/older.minisig", Answer::ok(SIGNATURE.as_bytes())),
        ("/forged/test", Answer::ok(b"Test")),
        ("/forged/test.minisig", Answer::ok(SIGNATURE.as_bytes())),
        ("/renamed", Answer::ok(b"test")),
        ("/renamed.minisig", Answer::ok(SIGNATURE.replace("file:test", "file:renamed").as_bytes())),
        ("/garbled", Answer::ok(b"test")),
        ("/garbled.minisig", Answer::ok(b"nonsense")),
        ("/unsigned", Answer::ok(b"test")),
    ])
    .await;
    // The one that is signed is no archive: it gets as far as that.
    let cases = [
        ("signed/test", "bad archive"),
        ("older", "it was made for a file called \"test\""),
        ("renamed", "wrong signature"),
        ("forged/test", "wrong signature"),
        ("garbled", ".minisig"),
        ("unsigned", "unsigned.minisig: 404"),
    ];
    for (path, words) in cases {
        let host = Host::new();
        let mut source = source(server.url(&format!("/{path}")), &[]);
        source.archive.as_mut().unwrap().minisign_key = Some(KEY.to_owned());
        let error = host.fetch(&source, "v1").await.unwrap_err();
        assert!(error.rejected && error.message.contains(words), "{path}: {error}");
        assert!(host.names().is_empty());
    }
    let mut source = source(server.url("/renamed"), &[]);
    source.archive.as_mut().unwrap().minisign_key = Some("RW-nonsense".to_owned());
    let error = Host::new().fetch(&source, "v1").await.unwrap_err();
    assert!(error.rejected && error.message.contains("minisign_key"), "{error}");
}

#[tokio::test]
async fn https_is_spoken_with_the_systems_certificates_or_not_at_all() {
    let archive = gz(&tar(&[file("app", "one")]));
    let server = Server::start(&[("/v1", Answer::ok(&archive))]).await;
    let url = server.url("/{version}").replace("http:", "https:");
    let error = Host::new().fetch(&source(url, &[("v1", sum(&archive))]), "v1").await.unwrap_err();
    assert!(!error.rejected && !error.message.contains("secret"), "{error}");
}

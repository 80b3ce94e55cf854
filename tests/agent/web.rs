//! A web server that serves what it is told to, and can keep its clients waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Default)]
struct State {
    answers: BTreeMap<String, (u16, Vec<u8>)>,
    requests: Vec<String>,
}

pub struct Web {
    pub port: u16,
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
    cut: watch::Sender<()>,
}

impl Web {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (held, holds) = watch::channel(false);
        let (cut, cuts) = watch::channel(());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), holds.clone(), cuts.clone()));
            }
        });
        Self { port, state, held, cut }
    }

    /// What is answered to requests for `path`.
    pub fn answer(&self, path: &str, status: u16, body: &[u8]) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), (status, body.to_vec()));
    }

    /// Answers nothing from now on, or all that was asked meanwhile.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Hangs up on all who wait for an answer.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    /// How often `path` was asked for.
    pub fn requests(&self, path: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|request| *request == path).count()
    }

    /// Serves a release of this version; the `source` of an assignment that has it.
    pub fn release(&self, versions: &[&str]) -> Value {
        let mut sums = BTreeMap::new();
        for version in versions {
            let archive = archive(version);
            sums.insert((*version).to_owned(), hex::encode(Sha256::digest(&archive)));
            self.answer(&format!("/{version}.tar.gz"), 200, &archive);
        }
        let url = format!("http://127.0.0.1:{}/{{version}}.tar.gz", self.port);
        json!({ "archive": { "url": url, "sha256": sums } })
    }
}

/// One file, `version`, that says which it is.
fn archive(version: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(version.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "version", version.as_bytes()).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

async fn serve(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    mut held: watch::Receiver<bool>,
    mut cut: watch::Receiver<()>,
) {
    cut.mark_unchanged();
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
    state.lock().unwrap().requests.push(path.clone());
    tokio::select! {
        held = held.wait_for(|held| !held) => if held.is_err() { return },
        _ = cut.changed() => return,
    }
    let answer = state.lock().unwrap().answers.get(&path).cloned();
    let (status, body) = answer.unwrap_or((404, Vec::new()));
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

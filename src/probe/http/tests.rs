#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rstest::rstest;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    model::Span,
    probe::{
        check::Check,
        tests::{LONG, SHORT, answering, closed, resetting, server, silent},
    },
};

/// Signed by itself, for another name, and valid for a day. Worth nothing outside of this test.
const CERTIFICATE: &str = "\
MIIBjTCCATOgAwIBAgIUAvzE7iQYPVyioIVmdCS102cpoQUwCgYIKoZIzj0EAwIwHDEaMBgGA1UEAwwRZWxzZXdoZXJlLmludmFsaWQwHhcNMj\
YxMTIyMjEzNzA4WhcNMjYxMTIzMjEzNzA4WjAcMRowGAYDVQQDDBFlbHNld2hlcmUuaW52YWxpZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA\
BMFoFD9BLrNTXS6LJ6G+64/pNqAhn9zj9jvjdEY+AsgvrabKNPklMtTiiFzwegZ4TP6C0alj+Qs0yZ/ZMf7IB0GjUzBRMB0GA1UdDgQWBBQJVM\
kyTnsNIJ0cLD3VGocfU/1/DjAfBgNVHSMEGDAWgBQJVMkyTnsNIJ0cLD3VGocfU/1/DjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gA\
MEUCIQC/ikHwkQVTbPET8YJvsGQxNdNaeQfFyrdMXweeL0p9bgIgE77OlaiPV/HfE0wEIdvo1Y0n9R6JNVTCcBqFdzJ6O9U=";
const KEY: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMhsYyYJycMeFsRx4m38waurFeNm+0YRRXt1djT1fejGhRANCAATBaBQ/QS6zU1\
0uiyehvuuP6TagIZ/c4/Y743RGPgLIL62myjT5JTLU4ohc8HoGeEz+gtGpY/kLNMmf2TH+yAdB";

fn check() -> HttpCheck {
    HttpCheck { path: Some("/healthz?full=1".to_owned()), ..HttpCheck::default() }
}

/// The outcome, with the port as `PORT`.
async fn ask(check: &HttpCheck, port: u16, limit: Span) -> Result<(), String> {
    let http = Http::new(check, Address::new(check.host.as_deref(), port)).unwrap();
    Check::Http(http).run(limit).await.map_err(|error| error.to_string().replace(&port.to_string(), "PORT"))
}

fn failure(what: &str) -> Result<(), String> {
    Err(format!("GET http://127.0.0.1:PORT/healthz?full=1: {what}"))
}

fn answer(code: u16, body: &str) -> String {
    format!("HTTP/1.1 {code} Whatever\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[rstest]
#[case(200, None, true)]
#[case(204, None, true)]
#[case(302, None, true)]
#[case(399, None, true)]
#[case(400, None, false)]
#[case(503, None, false)]
#[case(503, Some("503"), true)]
#[case(200, Some("503"), false)]
#[case(302, Some("200-299"), false)]
#[case(201, Some("200 - 299"), true)]
#[tokio::test]
async fn the_status_decides(#[case] code: u16, #[case] status: Option<&str>, #[case] good: bool) {
    let port = answering(answer(code, "")).await;
    let check = HttpCheck { status: status.map(str::to_owned), ..check() };
    let expected = if good { Ok(()) } else { failure(&code.to_string()) };
    assert_eq!(ask(&check, port, LONG).await, expected);
}

#[test]
fn a_status_that_is_none_is_refused() {
    let check = HttpCheck { status: Some("fine".to_owned()), ..check() };
    assert!(Http::new(&check, Address::new(None, 80)).is_err());
}

#[rstest]
#[case::whole("fine", "fine", true)]
#[case::within("all is fine here", "is fine", true)]
#[case::empty("", "fine", false)]
#[case::other("FINE", "fine", false)]
#[case::no_wish("anything", "", true)]
#[tokio::test]
async fn the_body_decides(#[case] body: &str, #[case] wanted: &str, #[case] good: bool) {
    let port = answering(answer(200, body)).await;
    let check = HttpCheck { body: Some(wanted.to_owned()), ..check() };
    let expected = if good { Ok(()) } else { failure("200, but the body has no \"fine\"") };
    assert_eq!(ask(&check, port, LONG).await, expected);
}

#[tokio::test]
async fn bodies_come_in_pieces_or_until_the_end() {
    let check = HttpCheck { body: Some("all fine".to_owned()), ..check() };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nfine\r\n0\r\n\r\n";
    assert_eq!(ask(&check, answering(chunked).await, LONG).await, Ok(()));
    assert_eq!(ask(&check, answering("HTTP/1.0 200 OK\r\n\r\nall fine").await, LONG).await, Ok(()));
}

#[tokio::test]
async fn no_more_than_the_beginning_of_a_huge_body_is_read() {
    let body = |before: usize| answer(200, &(".".repeat(before) + "fine" + &".".repeat(16 << 20)));
    let check = HttpCheck { body: Some("fine".to_owned()), ..check() };
    assert_eq!(ask(&check, answering(body(ANSWER - 4)).await, LONG).await, Ok(()));
    let late = ask(&check, answering(body(ANSWER - 3)).await, LONG).await;
    assert_eq!(late, failure("200, but the body has no \"fine\""));
}

#[tokio::test]
async fn the_request_says_what_was_wished() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let port = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            sender.send(String::from_utf8(request[..length].to_vec()).unwrap()).unwrap();
            stream.write_all(answer(200, "").as_bytes()).await.unwrap();
        }
    })
    .await;
    let headers = [("Host", "webapp.example"), ("X-Probe", "yes, \u{e4}")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for check in [check(), HttpCheck { headers, path: None, ..HttpCheck::default() }] {
        assert_eq!(ask(&check, port, LONG).await, Ok(()));
    }
    let plain = requests.recv().await.unwrap().to_lowercase();
    assert!(plain.starts_with("get /healthz?full=1 http/1.1\r\n"), "{plain}");
    assert!(plain.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{plain}");
    assert!(plain.contains("connection: close\r\n") && plain.contains("user-agent: zkops-probe/"), "{plain}");
    let rich = requests.recv().await.unwrap();
    assert!(rich.starts_with("GET / HTTP/1.1\r\n"), "{rich}");
    assert!(rich.contains("host: webapp.example\r\n") && rich.contains("x-probe: yes, \u{e4}\r\n"), "{rich}");
    assert_eq!(rich.matches("host:").count(), 1, "{rich}");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_said() {
    let headers = BTreeMap::from([("a b".to_owned(), String::new())]);
    let check = HttpCheck { headers, ..check() };
    let expected = failure("cannot be asked for: the header a b has an invalid name");
    assert_eq!(ask(&check, closed().1, LONG).await, expected);
}

#[tokio::test]
async fn a_server_that_does_not_answer_fails() {
    let (check, (_socket, port)) = (check(), closed());
    assert_eq!(ask(&check, port, LONG).await, failure("Connection refused"));
    assert_eq!(ask(&check, silent().await, SHORT).await, failure("no answer within 100ms"));
    assert_eq!(ask(&check, resetting().await, LONG).await, failure("Connection reset by peer"));
    assert_eq!(ask(&check, answering("").await, LONG).await, failure("connection closed before message completed"));
    assert_eq!(ask(&check, answering("SSH-2.0-x\r\n").await, LONG).await, failure("invalid HTTP version parsed"));
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let error = ask(&check, answering(truncated).await, LONG).await.unwrap_err();
    assert!(error.contains("end of file before message length reached"), "{error}");
}

#[tokio::test]
async fn the_timeout_is_that_of_the_whole() {
    let port = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        while stream.write_all(b".").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(ask(&check(), port, SHORT).await, failure("no answer within 100ms"));
}

/// A server over TLS that sends the name that it was asked for, and answers.
async fn secure(names: mpsc::UnboundedSender<Option<String>>) -> u16 {
    let certificate = BASE64_STANDARD.decode(CERTIFICATE).unwrap().into();
    let key = PrivatePkcs8KeyDer::from(BASE64_STANDARD.decode(KEY).unwrap()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let (acceptor, names) = (acceptor.clone(), names.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            names.send(stream.get_ref().1.server_name().map(str::to_owned)).unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer(200, "fine").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_not_verified_and_the_name_is_the_hosts() {
    let (sender, mut names) = mpsc::unbounded_channel();
    let port = secure(sender).await;
    let body = Some("fine".to_owned());
    let check = HttpCheck { tls: true, body, ..check() };
    let header = |host: &str| BTreeMap::from([("host".to_owned(), host.to_owned())]);
    let asked = [
        (check.clone(), None),
        (HttpCheck { host: Some("localhost".to_owned()), ..check.clone() }, Some("localhost")),
        (HttpCheck { headers: header("webapp.example:8443"), ..check.clone() }, Some("webapp.example")),
        (HttpCheck { headers: header("[::1]:8443"), ..check }, None),
    ];
    for (check, name) in asked {
        assert_eq!(ask(&check, port, LONG).await, Ok(()));
        assert_eq!(names.recv().await.unwrap().as_deref(), name);
    }
}

#[tokio::test]
async fn tls_is_not_spoken_to_a_server_without_and_the_other_way_round() {
    let tls = HttpCheck { tls: true, ..check() };
    let error = ask(&tls, answering(answer(200, "")).await, LONG).await.unwrap_err();
    assert!(error.starts_with("GET https://127.0.0.1:PORT/healthz?full=1: TLS: "), "{error}");
    let (sender, _names) = mpsc::unbounded_channel();
    assert!(ask(&check(), secure(sender).await, LONG).await.is_err());
}

#![allow(clippy::unwrap_used)]

use rstest::rstest;

use super::*;
use crate::{
    model::Span,
    probe::{
        check::Check,
        tests::{LONG, SHORT, answering, closed, resetting, silent},
    },
};

async fn ask(word: Option<&str>, port: u16, limit: Span) -> Result<(), String> {
    let check = ZooKeeperCheck { command: word.map(str::to_owned), ..ZooKeeperCheck::default() };
    let asked = Check::ZooKeeper(FourLetters::new(&check, Address::new(None, port))).run(limit).await;
    asked.map_err(|error| error.to_string().replace(&port.to_string(), "PORT"))
}

#[rstest]
#[case(None, "imok", Ok(()))]
#[case(Some("ruok"), "imok\n", Ok(()))]
#[case(Some("srvr"), "Zookeeper version: 3.8.0\nMode: follower\n", Ok(()))]
#[case(Some("stat"), "Zookeeper version: 3.8.0\nClients:\n\nMode: standalone\n", Ok(()))]
#[case(
    Some("srvr"),
    "This ZooKeeper instance is not currently serving requests\n",
    Err("zookeeper srvr 127.0.0.1:PORT: This ZooKeeper instance is not currently serving requests")
)]
#[case(
    None,
    "ruok is not executed because it is not in the whitelist.\n",
    Err("zookeeper ruok 127.0.0.1:PORT: ruok is not executed because it is not in the whitelist.")
)]
#[case(None, "", Err("zookeeper ruok 127.0.0.1:PORT: an empty answer"))]
#[tokio::test]
async fn answers_are_judged(#[case] word: Option<&str>, #[case] answer: &str, #[case] expected: Result<(), &str>) {
    let port = answering(answer).await;
    assert_eq!(ask(word, port, LONG).await, expected.map_err(str::to_owned));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_healthy() {
    let answer = ask(None, silent().await, SHORT).await;
    assert_eq!(answer, Err("zookeeper ruok 127.0.0.1:PORT: no answer within 100ms".to_owned()));
    let (_socket, port) = closed();
    let answer = ask(None, port, LONG).await;
    assert_eq!(answer, Err("zookeeper ruok 127.0.0.1:PORT: Connection refused".to_owned()));
    let answer = ask(None, resetting().await, LONG).await;
    assert_eq!(answer, Err("zookeeper ruok 127.0.0.1:PORT: Connection reset by peer".to_owned()));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let port = answering(vec![b'x'; 8 << 20]).await;
    let error = ask(None, port, LONG).await.unwrap_err();
    assert!(error.ends_with("xxx…") && error.len() < 300, "{error}");
}

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::*;

fn shell(script: &str, limit: Duration) -> Order {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Order {
        command,
        environment: vec![("ZKOPS_SERVICE".into(), "webapp".into())],
        limit: Some(limit),
        ..Order::default()
    }
}

#[tokio::test]
async fn tells_how_a_command_ended() {
    let limit = Duration::from_secs(20);
    let outcome = run(&shell("echo $ZKOPS_SERVICE; echo no such thing >&2; exit 3", limit)).await.unwrap();
    assert_eq!(outcome.words(), "exited with status 3: no such thing");
    assert!(outcome.output.contains("webapp"));
    let missing = Order { command: vec!["/no/such/program".into()], ..Order::default() };
    assert_eq!(run(&missing).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// Its disk may hang: so may the look for it, and its start.
#[tokio::test]
async fn a_program_is_looked_for_and_started_beside_the_loop() {
    let _loop = blocking::Loop::begin();
    let outcome = run(&shell("exit 3", Duration::from_secs(20))).await.unwrap();
    assert_eq!(outcome.status, Some(3));
    end_unit("zkops-run-none.service").await;
}

#[test]
fn systemd_is_told_all_of_an_order() {
    if find("systemd-run").is_err() {
        return;
    }
    let command = in_unit(&shell("exit 0", Duration::from_secs(2)), "zkops-run-1.service").unwrap();
    let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy()).collect();
    let words = words.join(" ");
    for part in ["--unit zkops-run-1.service", "RuntimeMaxSec=7000ms", "--setenv=ZKOPS_SERVICE=webapp"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.ends_with("-- /bin/sh -c exit 0"), "{words}");
}

#[test]
fn systemd_is_given_words_that_it_leaves_as_they_are() {
    if find("systemd-run").is_err() {
        return;
    }
    let command = ["/bin/echo", "${d} $$", "$HOME", "%n", "a\\", ""].map(str::to_owned).to_vec();
    let binds = vec![("/a b/c:d".into(), "/e".into())];
    let command = in_unit(&Order { command, binds, ..Order::default() }, "zkops-run-1.service").unwrap();
    let words: Vec<_> = command.as_std().get_args().map(|word| word.to_str().unwrap()).collect();
    assert!(words.ends_with(&["/bin/echo", "$${d} $$$$", "$$HOME", "%n", "a\\", ""]), "{words:?}");
    assert!(words.contains(&"--property=BindPaths=/a\\ b/c\\:d:/e"), "{words:?}");
}

#[tokio::test]
async fn kills_a_late_one_with_all_that_it_started() {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let script = format!("mkfifo {0}; (exec 3<>{0}; sleep 60) & wait", fifo.display());
    let outcome = run(&shell(&script, Duration::from_millis(200))).await.unwrap();
    assert!(outcome.late && began.elapsed() < Duration::from_secs(20));
    assert!(outcome.words().contains("took too long"));
}

#[tokio::test]
async fn does_not_wait_for_what_a_command_leaves_behind() {
    let began = Instant::now();
    let outcome = run(&shell("sleep 30 & echo done", Duration::from_secs(20))).await.unwrap();
    assert!(outcome.status == Some(0) && began.elapsed() < Duration::from_secs(10), "{outcome:?}");
    assert_eq!(outcome.output, "done\n");
}

#[tokio::test]
async fn keeps_the_end_of_much_output() {
    let outcome = run(&shell("yes 0123456 | head -n 50000; echo last", Duration::from_secs(20))).await.unwrap();
    assert!(outcome.output.len() <= KEPT_OUTPUT && outcome.output.ends_with("last\n"));
}

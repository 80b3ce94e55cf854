#![allow(clippy::unwrap_used)]
use super::*;
use crate::cli::fixture;

fn rollout(state: &str, pause: Option<&str>, from: Option<u64>) -> Rollout {
    let mut document = fixture::rollout(state, "v2", 7);
    if let Some(pause) = pause {
        document["pause"] = pause.into();
    }
    match from {
        Some(from) => document["from"] = from.into(),
        None => {
            document.as_object_mut().unwrap().remove("from");
        }
    }
    serde_json::from_value(document).unwrap()
}

fn say(action: RolloutAction, state: &str, pause: Option<&str>, from: Option<u64>) -> String {
    let answer = answer(action, &"webapp".parse().unwrap(), 7, &rollout(state, pause, from));
    match answer {
        Ok(Answer::Order) => "order".to_owned(),
        Ok(Answer::Already(said)) => said.to_owned(),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn orders_are_given_where_they_make_sense() {
    use RolloutAction::{Abort, Pause, Promote, Resume};
    for (action, state, pause) in [
        (Pause, "running", None),
        (Pause, "rolling_back", None),
        (Resume, "paused", Some("operator")),
        (Resume, "paused", Some("failure")),
        (Resume, "rolled_back", None),
        (Promote, "paused", Some("canary")),
        (Abort, "running", None),
        (Abort, "paused", Some("canary")),
        (Abort, "paused", Some("failure")),
    ] {
        assert_eq!(say(action, state, pause, Some(6)), "order", "{action:?} {state} {pause:?}");
    }
}

#[test]
fn what_is_so_already_is_not_ordered() {
    assert_eq!(say(RolloutAction::Pause, "paused", Some("operator"), None), "paused already");
    assert_eq!(say(RolloutAction::Abort, "rolling_back", None, Some(6)), "going back already");
}

#[test]
fn nonsense_is_refused_with_the_way_out() {
    use RolloutAction::{Abort, Pause, Promote, Resume};
    let all = [
        say(Pause, "completed", None, None),
        say(Promote, "running", None, None),
        say(Promote, "paused", Some("operator"), None),
        say(Abort, "running", None, None),
        say(Abort, "completed", None, Some(6)),
        say(Resume, "running", None, None),
        say(Resume, "paused", Some("canary"), None),
        say(Resume, "completed", None, None),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    cannot pause rollout 7 of webapp (completed): it has ended
    cannot promote rollout 7 of webapp (running): no canary of it waits for promotion
    cannot promote rollout 7 of webapp (paused): no canary of it waits for promotion
    cannot abort rollout 7 of webapp (running): there is nothing to go back to: no rollout of the service was healthy before; apply something else, or pause it
    cannot abort rollout 7 of webapp (completed): it has ended; `zkops rollout undo webapp` goes back to what was before
    cannot resume rollout 7 of webapp (running): it is not paused
    cannot resume rollout 7 of webapp (waits for promotion): its canary is healthy and waits for `zkops rollout promote webapp`
    cannot resume rollout 7 of webapp (completed): it has ended; change the service to begin a new one
    "#);
}

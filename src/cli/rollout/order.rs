//! `zkops rollout pause|resume|promote|abort`: the operator's word, which the controller carries out.

use super::{
    follow::{End, Follow},
    words,
};
use crate::{
    cli::{
        context::{self, Context},
        document::Change,
        failure::Failure,
        render,
        wait::{self, WaitArgs},
    },
    model::{PauseCause, Rollout, RolloutAction, RolloutOrder, RolloutState, ServiceName, decode, read_sequence},
    store::Client,
    tree::{
        layout::{self, Place},
        txn::Op,
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// Only if this is the newest rollout
    #[arg(long, value_name = "N", value_parser = read_sequence::<u64>)]
    rollout: Option<u64>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, action: RolloutAction, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let what = format!("rollout/{name}");
    let given = cx.write(&what, async |client| give(args, action, client).await).await?;
    render::line(&format!("{what} {}: {}", given.number, given.said))?;
    wait::when_asked(&args.wait, vec![given.follow], cx).await
}

struct Given {
    number: u64,
    said: String,
    follow: Follow,
}

async fn give(args: &Args, action: RolloutAction, client: &Client) -> anyhow::Result<(Vec<Op>, Given)> {
    let name = &args.service;
    let (number, rollout) = newest(name, client).await?;
    must_be_newest(name, args.rollout, number)?;
    let path = layout::rollouts(name);
    let node = client.get(&path).await?;
    let answer = answer(action, name, number, &rollout)?;
    let again = rollout.state == RolloutState::RolledBack && action == RolloutAction::Resume;
    let follow = Follow {
        service: name.clone(),
        number: (!again).then_some(number),
        beyond: again.then_some(number),
        end: end(action),
    };
    let given = |said: &str| Given { number, said: said.to_owned(), follow: follow.clone() };
    match answer {
        Answer::Already(said) => Ok((Vec::new(), given(said))),
        Answer::Order => {
            let order = RolloutOrder { rollout: number, action, by: Some(context::operator()), earlier: Vec::new() };
            let before = node.as_ref().and_then(|node| Some((decode::<RolloutOrder>(&node.data).ok()?, node.version)));
            let order = match before {
                Some((before, version)) => order.after(&before, version, rollout.order),
                None => order,
            };
            // Written even if the last order was the same: only a new version is a new order.
            let change = Change::always(path, node.as_ref(), &order);
            Ok((vec![change.op()?], given(done(action))))
        }
    }
}

const fn end(action: RolloutAction) -> End {
    match action {
        RolloutAction::Pause => End::Paused,
        RolloutAction::Resume | RolloutAction::Promote => End::Completed,
        RolloutAction::Abort => End::RolledBack,
    }
}

const fn done(action: RolloutAction) -> &'static str {
    match action {
        RolloutAction::Pause => "pausing",
        RolloutAction::Resume => "resuming",
        RolloutAction::Promote => "promoted",
        RolloutAction::Abort => "aborting",
    }
}

/// The newest rollout, which is the only one that can be told anything.
pub(super) async fn newest(name: &ServiceName, client: &Client) -> anyhow::Result<(u64, Rollout)> {
    let number = *must_have_numbers(name, client).await?.last().ok_or_else(|| no_rollout(name))?;
    Ok((number, read(name, number, client).await?))
}

/// The numbers of a service's rollouts, oldest first.
///
/// # Errors
/// When there is no such service.
pub(super) async fn must_have_numbers(name: &ServiceName, client: &Client) -> anyhow::Result<Vec<u64>> {
    match numbers(name, client).await? {
        Some(numbers) => Ok(numbers),
        None if client.exists(&layout::service(name)).await? => Ok(Vec::new()),
        None => Err(context::no_service(name)),
    }
}

/// The numbers of a service's rollouts, oldest first; `None` when there never was one.
pub(in crate::cli) async fn numbers(name: &ServiceName, client: &Client) -> anyhow::Result<Option<Vec<u64>>> {
    let parent = layout::rollouts(name);
    let number = |child: &String| match Place::of(&format!("{parent}/{child}")) {
        Place::Rollout(_, number) => Some(number),
        _ => None,
    };
    Ok(client.children(&parent).await?.map(|children| children.iter().filter_map(number).collect()))
}

/// One rollout's record.
pub(super) async fn read(name: &ServiceName, number: u64, client: &Client) -> anyhow::Result<Rollout> {
    let path = layout::rollout(name, number);
    let node = client.get(&path).await?.ok_or_else(|| {
        Failure::NotFound(format!("{name} has no rollout {number} (zkops rollout history {name} lists them)"))
    })?;
    decode(&node.data).map_err(|error| Failure::Conflict(format!("{path} cannot be read: {error}")).into())
}

pub(super) fn no_rollout(name: &ServiceName) -> anyhow::Error {
    let text = format!("{name} has no rollout yet: the controller begins one when the service is applied and enabled");
    Failure::NotFound(text).into()
}

fn must_be_newest(name: &ServiceName, wanted: Option<u64>, newest: u64) -> Result<(), Failure> {
    match wanted {
        Some(number) if number != newest => {
            let text = format!("{name}'s newest rollout is {newest}, not {number}: only the newest takes commands");
            Err(Failure::Conflict(text))
        }
        _ => Ok(()),
    }
}

/// What is made of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is given to the controller.
    Order,
    /// It is so already.
    Already(&'static str),
}

/// Whether the order makes sense for a rollout in this state.
fn answer(action: RolloutAction, name: &ServiceName, number: u64, rollout: &Rollout) -> Result<Answer, Failure> {
    let answer = match action {
        RolloutAction::Pause => pause(rollout),
        RolloutAction::Resume => resume(name, rollout),
        RolloutAction::Promote => promote(rollout),
        RolloutAction::Abort => abort(name, rollout),
    };
    answer.map_err(|why| {
        let state = words::state(rollout);
        Failure::Conflict(format!("cannot {} rollout {number} of {name} ({state}): {why}", words::order(action)))
    })
}

fn pause(rollout: &Rollout) -> Result<Answer, String> {
    match (rollout.state, rollout.pause) {
        (RolloutState::Running | RolloutState::RollingBack, _) | (RolloutState::Paused, Some(PauseCause::Disabled)) => {
            Ok(Answer::Order)
        }
        (RolloutState::Paused, _) => Ok(Answer::Already("paused already")),
        (RolloutState::Completed | RolloutState::RolledBack | RolloutState::Superseded, _) => {
            Err("it has ended".into())
        }
    }
}

fn resume(name: &ServiceName, rollout: &Rollout) -> Result<Answer, String> {
    match (rollout.state, rollout.pause) {
        (RolloutState::Paused, Some(PauseCause::Canary)) => {
            Err(format!("its canary is healthy and waits for `zkops rollout promote {name}`"))
        }
        (RolloutState::Paused, Some(PauseCause::Disabled)) => Err(format!(
            "it goes on by itself once the service is enabled and replicas are wanted: `zkops enable {name}`, or \
                 `zkops scale`"
        )),
        (RolloutState::Paused | RolloutState::RolledBack, _) => Ok(Answer::Order),
        (RolloutState::Running, _) => Err("it is not paused".into()),
        (RolloutState::RollingBack, _) => Err("wait until it is rolled back, then resume retries it".into()),
        (RolloutState::Completed | RolloutState::Superseded, _) => {
            Err("it has ended; change the service to begin a new one".into())
        }
    }
}

fn promote(rollout: &Rollout) -> Result<Answer, String> {
    match rollout.pause {
        Some(PauseCause::Canary) if rollout.state == RolloutState::Paused => Ok(Answer::Order),
        _ => Err("no canary of it waits for promotion".into()),
    }
}

fn abort(name: &ServiceName, rollout: &Rollout) -> Result<Answer, String> {
    match rollout.state {
        RolloutState::Completed => {
            Err(format!("it has ended; `zkops rollout undo {name}` goes back to what was before"))
        }
        RolloutState::RolledBack | RolloutState::Superseded => Err("it has ended".into()),
        RolloutState::RollingBack => Ok(Answer::Already("going back already")),
        RolloutState::Running | RolloutState::Paused if rollout.back => {
            Err(format!("it is going back already and paused: `zkops rollout resume {name}` goes on"))
        }
        RolloutState::Running | RolloutState::Paused if rollout.from.is_none() => Err(
            "there is nothing to go back to: no rollout of the service was healthy before; apply something else, or pause it"
                .into(),
        ),
        RolloutState::Running | RolloutState::Paused => Ok(Answer::Order),
    }
}

#[cfg(test)]
mod tests;

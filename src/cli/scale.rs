//! `zkops scale`: how many replicas a service has.

use super::{context::Context, desired, failure::Failure, wait::WaitArgs};
use crate::model::{Desired, ServiceName, counted, read_number};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Scaling down drains the replicas that leave before they are stopped. Numbers are never used again.

N is how many replicas there shall be, never how many more or fewer: `+1` is refused. --from refuses
(exit code 4) unless there are as many now as you think, also when somebody else scales meanwhile.

Examples:
  zkops scale webapp 5 --wait
  zkops scale webapp 4 --from 3")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// How many replicas there shall be
    #[arg(value_name = "N", value_parser = read_number::<u32>, allow_negative_numbers = true)]
    replicas: u32,
    /// Only if so many are wanted now
    #[arg(long, value_name = "N", value_parser = read_number::<u32>, allow_negative_numbers = true)]
    from: Option<u32>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let done = |before: &Desired| format!("scaled from {} to {}", before.replicas, args.replicas);
    desired::change(&args.service, done, &args.wait, cx, |desired| set_replicas(args, desired)).await
}

fn set_replicas(args: &Args, desired: &mut Desired) -> Result<(), Failure> {
    if let Some(from) = args.from.filter(|from| *from != desired.replicas) {
        let (name, now) = (&args.service, counted(desired.replicas, "replica"));
        return Err(Failure::Conflict(format!("service/{name} wants {now} now, not {from}: nothing was changed")));
    }
    desired.replicas = args.replicas;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Scale {
        #[command(flatten)]
        args: Args,
    }

    fn scaled(words: &str, now: u32) -> Result<u32, String> {
        let words = ["scale", "webapp"].into_iter().chain(words.split(' '));
        let scale = Scale::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut desired = Desired { replicas: now, ..Desired::default() };
        set_replicas(&scale.args, &mut desired).map_err(|error| error.to_string())?;
        Ok(desired.replicas)
    }

    #[test]
    fn a_sign_is_refused_rather_than_dropped() {
        assert_eq!(scaled("1", 3), Ok(1));
        for words in ["+1", "-1", "03", "1.5", "", "4294967296"] {
            let error = scaled(words, 3).err().unwrap_or_default();
            assert!(error.contains("is not a number: write it in plain digits"), "{words}: {error}");
        }
    }

    #[test]
    fn the_number_that_is_thought_to_be_is_compared() {
        assert_eq!(scaled("4 --from 3", 3), Ok(4));
        let refused = "service/webapp wants 1 replica now, not 3: nothing was changed";
        assert_eq!(scaled("4 --from 3", 1), Err(refused.to_owned()));
    }
}

//! Random ensembles that lose members, change leaders and come back late or never: no restart while anybody else is down,
//! nobody twice, the leader only when no other is left, and an end in any case.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{
    tests::{address, counted, down, report},
    *,
};

const TIMEOUT: u64 = 20;
/// More ticks than any run takes: each step ends within the timeout.
const TICKS: u64 = 2000;

/// A member: how many more ticks it is down, and how many processes it has had.
#[derive(Clone, Debug, Default)]
struct Member {
    down: u64,
    life: u64,
}

#[derive(Debug)]
struct World {
    members: Vec<Member>,
    leader: usize,
    observers: usize,
}

impl World {
    /// The ensemble as it is now; whoever is up leads when the leader is down, as long as there is a quorum.
    fn view(&mut self) -> Vec<Report> {
        let voters = self.members.len() - self.observers;
        let up: Vec<usize> = (0..voters).filter(|member| self.members[*member].down == 0).collect();
        if self.members[self.leader].down > 0 && !up.is_empty() {
            self.leader = up[0];
        }
        let quorum = up.len() > voters / 2;
        let said = |(number, member): (usize, &Member)| match member.down {
            1.. => down(number),
            0 if !quorum => Report::silent(address(number), true, &Silence::NotServing),
            0 if number == self.leader => report(number, Mode::Leader, member.life),
            0 if number >= voters => report(number, Mode::Observer, member.life),
            0 => report(number, Mode::Follower, member.life),
        };
        let mut view: Vec<Report> = self.members.iter().enumerate().map(said).collect();
        for report in &mut view {
            if let Ok(mntr) = &mut report.mntr {
                mntr.quorum_size = Some(voters as u64);
            }
        }
        counted(view)
    }

    fn tick(&mut self) {
        self.members.iter_mut().for_each(|member| member.down = member.down.saturating_sub(1));
    }

    fn stop(&mut self, member: usize, ticks: u64) {
        // A process that is new has lower counters.
        self.members[member] = Member { down: ticks, life: self.members[member].life.saturating_sub(1) };
    }
}

/// What befalls the ensemble at a tick: a member is lost for some ticks.
#[derive(Clone, Debug)]
struct Loss {
    tick: u64,
    member: usize,
    ticks: u64,
}

fn losses() -> impl Strategy<Value = Vec<Loss>> {
    let loss = (0..120u64, 0..7usize, 1..60u64).prop_map(|(tick, member, ticks)| Loss { tick, member, ticks });
    prop::collection::vec(loss, 0..4)
}

proptest! {
    #[test]
    fn never_two_at_once_and_the_leader_last(
        voters in prop::sample::select(vec![3usize, 5, 7]),
        observers in 0..2usize,
        leader in 0..3usize,
        takes in prop::collection::vec(0..30u64, 9),
        losses in losses(),
    ) {
        let count = voters + observers;
        let mut world = World { members: vec![Member { down: 0, life: 100 }; count], leader, observers };
        let options = Options { timeout: Duration::from_secs(TIMEOUT), standalone: false, skip: BTreeSet::new() };
        let mut rolling = Rolling::new(options);
        let (mut restarted, mut end) = (Vec::new(), None);
        for tick in 0..TICKS {
            for loss in losses.iter().filter(|loss| loss.tick == tick && loss.member < count) {
                world.stop(loss.member, loss.ticks);
            }
            let view = world.view();
            match rolling.next(&view, Duration::from_secs(tick)) {
                Step::Restart(member, mode) => {
                    let at = view.iter().position(|report| report.address == member).unwrap();
                    prop_assert!(world.members.iter().all(|member| member.down == 0), "a restart while one is down");
                    prop_assert!(!restarted.contains(&at), "twice");
                    prop_assert_eq!(view[at].mode(), Some(mode));
                    if mode == Mode::Leader {
                        prop_assert_eq!(restarted.len(), count - 1, "the leader is not the last");
                    }
                    restarted.push(at);
                    // 0: a restart that does nothing.
                    if takes[at] > 0 {
                        world.stop(at, takes[at]);
                    }
                }
                Step::Back(member, ..) => prop_assert_eq!(&member, &address(*restarted.last().unwrap())),
                Step::Wait(_) => {}
                Step::Stop(_) | Step::Done => {
                    end = Some(tick);
                    if rolling.finished().len() == count {
                        prop_assert_eq!(restarted.len(), count);
                    }
                    break;
                }
            }
            world.tick();
        }
        prop_assert!(end.is_some(), "no end");
        let calm = losses.is_empty() && takes[..count].iter().all(|ticks| (1..TIMEOUT).contains(ticks));
        prop_assert!(!calm || rolling.finished().len() == count, "stopped without a reason");
    }
}

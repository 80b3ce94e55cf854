//! The seats of one service: how many of its replicas are on each host, and in each domain of its spread label.

use std::rc::Rc;

use super::{
    fleet::{Domains, Fleet},
    host::HostIndex,
};

/// Counted only when someone asks: most services of most plans need no place for anyone.
#[derive(Default)]
pub(super) struct Occupancy<'a> {
    spread: Option<&'a str>,
    uncounted: Vec<(HostIndex, bool)>,
    counts: Option<Counts>,
}

/// Replicas by host, and by domain.
struct Counts {
    /// Those that may have processes on the host: what `max_per_host` limits.
    taken: Vec<u32>,
    /// Those that are to stay on the host: what is spread.
    staying: Vec<u32>,
    /// The same by domain, when there is a spread label.
    domains: Option<(Rc<Domains>, Vec<u32>)>,
}

impl<'a> Occupancy<'a> {
    pub(super) fn new(spread: Option<&'a str>) -> Self {
        Self { spread, ..Self::default() }
    }

    /// A replica of the service is on the host; `staying` unless it is on its way out.
    pub(super) fn seat(&mut self, host: HostIndex, staying: bool) {
        match &mut self.counts {
            Some(counts) => counts.seat(host, staying),
            None => self.uncounted.push((host, staying)),
        }
    }

    /// A replica that was to stay on the host is on its way out; its processes are still there.
    pub(super) fn retire(&mut self, fleet: &mut Fleet<'a>, host: HostIndex) {
        self.counts(fleet).retire(host);
    }

    /// A replica that was to stay is no longer on the host.
    pub(super) fn give_back(&mut self, fleet: &mut Fleet<'a>, host: HostIndex) {
        self.counts(fleet).retire(host);
        self.forget(fleet, host);
    }

    /// Processes of the service on the host beside those of its seats: of a replica whose seat is elsewhere already.
    pub(super) fn linger(&mut self, fleet: &mut Fleet<'a>, host: HostIndex) {
        self.counts(fleet).taken[host] += 1;
    }

    /// Takes [`linger`](Self::linger) back.
    pub(super) fn forget(&mut self, fleet: &mut Fleet<'a>, host: HostIndex) {
        decrement(&mut self.counts(fleet).taken[host]);
    }

    /// How crowded a host's surroundings are: how many are to stay in its domain (0 without a spread label), and
    /// how many on the host itself.
    pub(super) fn crowd(&mut self, fleet: &mut Fleet<'a>, host: HostIndex) -> (u32, u32) {
        self.counts(fleet).crowd(host)
    }

    /// How many replicas may have processes on the host.
    pub(super) fn taken_on(&self, host: HostIndex) -> u32 {
        let uncounted = || self.uncounted.iter().filter(|(other, _)| *other == host).map(|_| 1).sum();
        self.counts.as_ref().map_or_else(uncounted, |counts| counts.taken[host])
    }

    /// The same counts as a view for many questions at once.
    pub(super) fn view(&mut self, fleet: &mut Fleet<'a>) -> View<'_> {
        View { counts: self.counts(fleet) }
    }

    fn counts(&mut self, fleet: &mut Fleet<'a>) -> &mut Counts {
        let (spread, uncounted) = (self.spread, &mut self.uncounted);
        self.counts.get_or_insert_with(|| {
            let domains = spread.map(|key| fleet.domains(key));
            let hosts = fleet.hosts.len();
            let domains = domains.map(|domains| (Rc::clone(&domains), vec![0; domains.count]));
            let mut counts = Counts { taken: vec![0; hosts], staying: vec![0; hosts], domains };
            for (host, staying) in std::mem::take(uncounted) {
                counts.seat(host, staying);
            }
            counts
        })
    }
}

/// The counts at one moment.
pub(super) struct View<'c> {
    counts: &'c Counts,
}

impl View<'_> {
    /// See [`Occupancy::crowd`].
    pub(super) fn crowd(&self, host: HostIndex) -> (u32, u32) {
        self.counts.crowd(host)
    }

    /// See [`Occupancy::taken_on`].
    pub(super) fn taken_on(&self, host: HostIndex) -> u32 {
        self.counts.taken[host]
    }
}

impl Counts {
    fn seat(&mut self, host: HostIndex, staying: bool) {
        self.taken[host] += 1;
        if staying {
            self.staying[host] += 1;
            if let Some((domains, counts)) = &mut self.domains {
                counts[domains.of[host]] += 1;
            }
        }
    }

    fn retire(&mut self, host: HostIndex) {
        decrement(&mut self.staying[host]);
        if let Some((domains, counts)) = &mut self.domains {
            decrement(&mut counts[domains.of[host]]);
        }
    }

    fn crowd(&self, host: HostIndex) -> (u32, u32) {
        let domain = self.domains.as_ref().map_or(0, |(domains, counts)| counts[domains.of[host]]);
        (domain, self.staying[host])
    }
}

fn decrement(count: &mut u32) {
    *count = count.saturating_sub(1);
}
